//! `--shard`: which part of a plan this process scans, as typed or as the system that started it
//! says.

use portreeve::plan::Shard;

/// What `--shard` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This shard.
    Shard(Shard),
    /// The shard that the environment names, of the given number of shards, or of as many as the
    /// environment says.
    Auto(Option<u32>),
}

const FORM: &str = "write it like 3/16 (the third of 16), auto/16 (of 16, this job's one) or auto";

/// `3/16`, `auto/16`, `auto`.
pub fn parse(text: &str) -> Result<Wanted, String> {
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("{text:?} is no number; {FORM}"))
    };
    let (which, of) = match text.split_once('/') {
        Some((which, of)) => (which, Some(number(of)?)),
        None => (text, None),
    };
    if of == Some(0) {
        return Err(format!("{text:?} leaves nothing to scan; {FORM}"));
    }
    match (which, of) {
        ("auto", of) => Ok(Wanted::Auto(of)),
        (which, Some(of)) => Shard::new(number(which)?, of)
            .map(Wanted::Shard)
            .ok_or_else(|| format!("{text:?}: shards are counted from 1 to {of}")),
        _ => Err(format!("{text:?} is no shard; {FORM}")),
    }
}

/// Finds the shard that is meant, with environment variables where it is automatic.
pub fn find(wanted: Wanted, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let of = match wanted {
        Wanted::Shard(shard) => return Ok(shard),
        Wanted::Auto(of) => of,
    };
    let number = |name: &str| -> Result<Option<u32>, String> {
        let Some(text) = variable(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| format!("{name} is {text:?}, which is no number; write --shard 3/16"))
    };
    if let Some(task) = number("SLURM_ARRAY_TASK_ID")? {
        let (of, least, most) = match of {
            Some(of) => (of, 1, of),
            None => {
                let missing = || "SLURM_ARRAY_TASK_COUNT is not set; write --shard auto/16, with the array's size";
                let of = number("SLURM_ARRAY_TASK_COUNT")?.ok_or_else(missing)?;
                (
                    of,
                    number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(1),
                    number("SLURM_ARRAY_TASK_MAX")?.unwrap_or(of),
                )
            }
        };
        // A part of an array that was submitted again must not be taken for the whole.
        return Shard::new(task, of).filter(|_| (least, most) == (1, of)).ok_or_else(|| {
            let advice = "number the array from 1, as in --array=1-16, and write --shard auto/16 with its size";
            match (least, most) == (1, of) {
                true => format!("task {task} is none of 1 to {of}; {advice}"),
                false => format!("the array has {of} tasks, numbered {least} to {most}, and may be a part of another; {advice}"),
            }
        });
    }
    if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        let of = of.ok_or("JOB_COMPLETION_INDEX does not say of how many; write --shard auto/16, with the job's completions")?;
        // Kubernetes counts from 0.
        return index.checked_add(1).and_then(|number| Shard::new(number, of)).ok_or_else(|| {
            format!("JOB_COMPLETION_INDEX is {index}, and there are only {of} shards; write --shard auto/N with the job's completions")
        });
    }
    Err("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set, so nobody says which shard this is; write --shard 3/16".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_string())
        };
        find(parse(text)?, variable).map(|shard| shard.to_string())
    }

    #[test]
    fn a_shard_is_named_or_found() {
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_COUNT", "16"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_MAX", "16"),
        ];
        let kubernetes = [("JOB_COMPLETION_INDEX", "0")];
        for (text, environment, shard) in [
            ("3/16", &[][..], "3/16"),
            ("1/1", &slurm, "1/1"),
            ("auto", &slurm, "7/16"),
            ("auto/20", &slurm, "7/20"),
            ("auto/16", &kubernetes, "1/16"),
        ] {
            assert_eq!(found(text, environment), Ok(shard.into()), "{text}");
        }
    }

    #[test]
    fn a_shard_that_is_not_certain_is_refused() {
        let task = |id, count, min, max| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
            ]
        };
        for (text, environment, part) in [
            ("0/16", &[][..], "from 1 to 16"),
            ("17/16", &[], "from 1 to 16"),
            ("1/0", &[], "nothing to scan"),
            ("3", &[], "3/16"),
            ("a/b", &[], "no number"),
            ("auto", &[], "write --shard 3/16"),
            // One task of 16, submitted again alone.
            ("auto", &task("7", "1", "7", "7"), "--array=1-16"),
            ("auto", &task("1", "2", "1", "9"), "--array=1-16"),
            ("auto", &task("0", "16", "0", "15"), "--array=1-16"),
            ("auto/16", &task("0", "16", "0", "15"), "--array=1-16"),
            ("auto/16", &[("SLURM_ARRAY_TASK_ID", "x")], "no number"),
            ("auto", &[("JOB_COMPLETION_INDEX", "3")], "auto/16"),
            ("auto/3", &[("JOB_COMPLETION_INDEX", "3")], "only 3"),
        ] {
            let error = found(text, environment).expect_err(text);
            assert!(error.contains(part), "{text} {environment:?}: {error}");
        }
    }
}
