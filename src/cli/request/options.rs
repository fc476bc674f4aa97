//! How to scan: from flags to the engine's options. It opens nothing.

use portreeve::engine::Options;
use portreeve::scan::{Rate, Settings, Timeouts};

use crate::cli::args::ScanArgs;
use crate::cli::exit::Failure;
use crate::cli::values::MaxRate;

pub fn options(args: &ScanArgs) -> Result<Options, Failure> {
    if args.min_timeout > args.max_timeout {
        return Err(Failure::Usage("--min-timeout is longer than --max-timeout; raise the latter, too, or use --timeout alone".into()));
    }
    Ok(Options {
        settings: settings(args),
        max_fds: args.max_fds,
        sources: args.source.clone(),
        device: args.device.clone(),
        polite_close: args.polite_close,
        verify_local: args.verify_local,
        notice: args.notice.as_ref().map(|text| text.as_bytes().into()),
        notice_printers: args.notice_printers,
        fresh_sockets: args.fresh_sockets,
        ..Options::default()
    })
}

fn settings(args: &ScanArgs) -> Settings {
    Settings {
        timeouts: Timeouts {
            fixed_us: args.timeout,
            min_us: args.min_timeout,
            max_us: args.max_timeout,
        },
        miss_rate_ppm: args.miss_rate,
        max_retries: args.max_retries,
        canaries: args.canaries,
        patience_us: args.patience,
        max_unanswered: args.max_unanswered,
        scan_silent: args.scan_silent,
        alive: args.alive,
        open_only: args.open_only,
        rate: match args.max_rate {
            None => Settings::default().rate,
            Some(MaxRate::Unlimited) => None,
            Some(MaxRate::PerSecond(per_s)) => Some(Rate {
                per_s,
                routed_only: false,
            }),
        },
        tell_unscanned: false,
        banner_wait_us: args.banner.then_some(args.banner_wait),
        sends_datagrams: args.notice_udp,
        ..Settings::default()
    }
}
