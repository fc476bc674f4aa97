//! An experiment as a picture: throughput, processor time, kernel memory and errors over the varied
//! value, as medians with their spread. It is one self-contained SVG file that follows the reader's
//! choice of light or dark. It runs nothing.

use std::io;

use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use super::experiment::{MEASURES, Run, Runs, Setting, Spread, named};

const SIZE: (u32, u32) = (960, 720);
/// Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008). Further
/// series repeat them.
const SERIES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const INK: RGBColor = RGBColor(34, 34, 34);
const GRID: RGBColor = RGBColor(221, 221, 221);
/// The picture's style sheet. It changes the two colours above in dark mode.
const STYLE: &str = "<style>
svg { background: #ffffff; font-family: sans-serif; }
@media (prefers-color-scheme: dark) {
svg { background: #181a1b; }
text { fill: #dddddd; }
[stroke='#222222'] { stroke: #dddddd; }
[stroke='#DDDDDD'] { stroke: #3c4043; }
}
</style>
";

/// Heights in pixels, of labels and of the legend.
const LABEL: u32 = 15;
const LEGEND: u32 = 28;

/// What a panel shows.
struct Panel {
    title: &'static str,
    measure: &'static str,
    /// The factor from the measure's unit to the panel's.
    scale: f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "throughput: endpoints per second",
        measure: "probes_per_s",
        scale: 1.0,
    },
    Panel {
        title: "processor time: microseconds per endpoint",
        measure: "cpu_us_per_probe",
        scale: 1.0,
    },
    Panel {
        title: "kernel memory of the sockets, estimated: MiB",
        measure: "socket_memory_bytes",
        scale: 1.0 / (1 << 20) as f64,
    },
    Panel {
        title: "errors on our own side, in each run",
        measure: "own_errors",
        scale: 1.0,
    },
];

/// The runs as an SVG file.
///
/// # Errors
/// Nothing was run, or the drawing library failed.
pub fn svg(runs: &Runs) -> io::Result<String> {
    let mut text = String::new();
    draw(runs, &mut text).map_err(|error| io::Error::other(error.to_string()))?;
    // The style goes after the opening tag.
    match text.split_once(">\n") {
        Some((tag, rest)) => Ok(format!("{tag}>\n{STYLE}{rest}")),
        None => Err(io::Error::other("the picture is empty")),
    }
}

fn draw(runs: &Runs, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let Some(first) = runs.0.first() else {
        return Err("nothing was run".into());
    };
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let xs = values(runs, 0);
    let series = values(runs, 1);
    let title = format!("portreeve: {} runs, medians, least and most", runs.0.len());
    let area = area.titled(&title, ("sans-serif", 24).into_font().color(&INK))?;
    let (legend, area) = area.split_vertically(if series.is_empty() { 0 } else { LEGEND });
    draw_legend(&series, &legend)?;
    for (panel, area) in PANELS.iter().zip(area.split_evenly((2, 2))) {
        let Some((_, of)) = MEASURES.iter().find(|(name, _)| *name == panel.measure) else {
            continue;
        };
        draw_panel(panel, *of, runs, &first.settings, &xs, &series, &area)?;
    }
    area.present()?;
    Ok(())
}

/// The values of the first or the second knob, in the order they were given.
fn values(runs: &Runs, which: usize) -> Vec<Setting> {
    let mut values: Vec<Setting> = Vec::new();
    for setting in runs.0.iter().filter_map(|run| run.settings.get(which)) {
        if !values.contains(setting) {
            values.push(*setting);
        }
    }
    values
}

/// The legend: which colour is which value of the second knob, in one line.
fn draw_legend(series: &[Setting], area: &Area) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = series.iter().map(|&setting| named(&[setting])).collect();
    let widths: Vec<i32> = names
        .iter()
        .map(|name| 44 + 8 * name.chars().count() as i32)
        .collect();
    let mut x = (SIZE.0 as i32 - widths.iter().sum::<i32>()) / 2;
    for ((name, width), color) in names.into_iter().zip(widths).zip(SERIES.iter().cycle()) {
        area.draw(&PathElement::new(
            vec![(x, 14), (x + 20, 14)],
            color.stroke_width(3),
        ))?;
        area.draw(&Text::new(
            name,
            (x + 26, 6),
            ("sans-serif", LABEL).into_font().color(&INK),
        ))?;
        x += width;
    }
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(
    panel: &Panel,
    of: fn(&Run) -> Option<f64>,
    runs: &Runs,
    knobs: &[Setting],
    xs: &[Setting],
    series: &[Setting],
    area: &Area,
) -> Result<(), Box<dyn std::error::Error>> {
    let spread = |x: &Setting, other: Option<&Setting>| {
        let here = runs
            .0
            .iter()
            .filter(|run| run.settings.first() == Some(x) && run.settings.get(1) == other);
        Spread::of(here.filter_map(of).map(|value| value * panel.scale))
    };
    let others: Vec<Option<&Setting>> = if series.is_empty() {
        vec![None]
    } else {
        series.iter().map(Some).collect()
    };
    let highest = runs
        .0
        .iter()
        .filter_map(of)
        .map(|value| value * panel.scale)
        .fold(0.0, f64::max);
    // Where nothing happened, an axis up to a small fraction would suggest otherwise.
    let top = if highest > 0.0 { highest * 1.1 } else { 4.0 };
    let last = xs.len() as i32 - 1;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 19).into_font().color(&INK))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d((0..last).into_segmented(), 0.0..top)?;
    let name = |value: &SegmentValue<i32>| match value {
        SegmentValue::CenterOf(index) => xs
            .get(*index as usize)
            .map_or(String::new(), ToString::to_string),
        _ => String::new(),
    };
    let label = ("sans-serif", LABEL).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(xs.len())
        .y_labels(6)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| shown(*value))
        .x_desc(knobs.first().map_or("", |setting| setting.knob().as_str()))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(label.clone())
        .axis_desc_style(label.clone())
        .draw()?;
    for (color, other) in SERIES.iter().cycle().zip(others) {
        let points: Vec<(SegmentValue<i32>, Spread)> = xs
            .iter()
            .enumerate()
            .filter_map(|(i, x)| Some((SegmentValue::CenterOf(i as i32), spread(x, other)?)))
            .collect();
        let line = LineSeries::new(
            points.iter().map(|(x, spread)| (x.clone(), spread.median)),
            color.stroke_width(2),
        );
        chart.draw_series(line)?;
        chart.draw_series(points.into_iter().map(|(x, spread)| {
            ErrorBar::new_vertical(
                x,
                spread.least,
                spread.median,
                spread.most,
                color.filled(),
                6,
            )
        }))?;
    }
    Ok(())
}

/// A number on an axis.
fn shown(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{}k", value / 1e3),
        value => format!("{}", (value * 1e3).round() / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::experiment::tests::runs;
    use crate::scan::Controller;

    #[test]
    fn the_picture_names_what_it_shows() {
        let [few, many] = [16, 4_096].map(Setting::MaxFds);
        let one = svg(&runs(&[few], &[many])).unwrap();
        for text in [
            "throughput",
            "microseconds per endpoint",
            "MiB",
            "errors on our own side",
            "max-fds",
            "4,096",
            "prefers-color-scheme: dark",
        ] {
            assert!(one.contains(text), "{text} is missing");
        }
        assert!(one.starts_with("<svg ") && one.trim_end().ends_with("</svg>"));
        let fresh = Setting::FreshSockets(true);
        let grid = svg(&runs(&[few, fresh], &[many, fresh])).unwrap();
        assert!(grid.contains("fresh-sockets yes"), "series are named");
        let words = [Controller::Adaptive, Controller::Aimd].map(Setting::Controller);
        let words = svg(&runs(&words[..1], &words[1..])).unwrap();
        assert!(words.contains("adaptive") && words.contains("aimd"));
        assert!(svg(&Runs::default()).is_err());
    }

    #[test]
    fn every_panel_shows_a_measure() {
        assert!(
            PANELS
                .iter()
                .all(|panel| MEASURES.iter().any(|(name, _)| *name == panel.measure))
        );
    }
}
