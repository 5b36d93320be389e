//! First calls through libraries that nobody used before: how many are seen from their first byte?

use std::time::Duration;

use anyhow::{Result, ensure};
use provider::script::{Reply, Scenario, answer, deltas};

use crate::clients::Run;
use crate::exact;
use crate::library;
use crate::rig::Rig;

/// From the library's mapping to the program's first use of it, which is then still before its first write.
const MAPPED_BEFORE: Duration = Duration::from_millis(20);

/// So many programs that map a library of their own and make one call each, one after the other;
/// the models whose calls were not seen as the provider wrote them.
///
/// # Errors
/// If a client fails.
pub fn late(rig: &Rig, tries: usize) -> Result<Vec<String>> {
    late_of(rig, "first", tries, |number| {
        let library = library::copy_into(&rig.dir.path().join(format!("first{number}")))?;
        let folder = library.parent().unwrap_or(rig.dir.path());
        let run = rig.run("stdlib")?.env("LD_LIBRARY_PATH", &folder.to_string_lossy());
        Ok(run.env("CLIENT_PAUSE", &MAPPED_BEFORE.as_secs_f64().to_string()))
    })
}

/// The same of any programs: `run` makes the one of a number; `name` tells these calls from others.
///
/// # Errors
/// If a client fails.
pub fn late_of(rig: &Rig, name: &str, tries: usize, run: impl Fn(usize) -> Result<Run>) -> Result<Vec<String>> {
    rig.provider.register("first", Scenario::always(Reply::of(answer(vec![deltas(5, 12, 20_000)], "stop"))));
    let mut models = Vec::new();
    for number in 0..tries {
        let model = vec![format!("scenario:first#{name}-{number}")];
        let (said, _) = run(number)?.start(&model)?.finish()?;
        ensure!(said.iter().all(|line| line.error.is_none()), "{said:?}");
        models.extend(model);
    }
    let wrong = exact::wrong(rig, &models)?;
    Ok(models.into_iter().filter(|model| wrong.iter().any(|line| line.starts_with(&format!("{model}:")))).collect())
}
