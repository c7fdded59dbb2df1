//! Which organisation a record belongs to. It decides which clients may receive it, so nothing is guessed here.

use super::super::id::Id;
use super::super::skip::Skip;
use super::notes;
use super::source::{Organisation, RouteSource, Said, View};
use super::trace::{Stage, StepVerdict, Trace};

const STAGE: Stage = Stage::Organisation;

impl Organisation {
    /// The first source that is there decides. A source that is there but is no organisation refuses the record; it is not
    /// passed over for one that may name another organisation.
    pub(super) fn of(&self, view: View<'_>, trace: &mut impl Trace) -> Result<Id, Skip> {
        for (number, source) in self.by.0.iter().enumerate() {
            let Some(said) = look(source, view, trace)? else {
                trace.note(STAGE, StepVerdict::Absent, || {
                    notes::not_there(std::slice::from_ref(source))
                });
                continue;
            };
            let id = said.id().map_err(|rule| {
                trace.refuse(STAGE, Skip::BadOrganisation, || {
                    format!("{}: {rule}", source.says(&said))
                })
            })?;
            trace.found(STAGE, || source.says(&said));
            if self.agree {
                agrees(source, source.look_on(view), &id, trace)?;
                for source in self.by.0.iter().skip(number.saturating_add(1)) {
                    let said = look(source, view, trace)?;
                    agrees(source, said, &id, trace)?;
                    agrees(source, source.look_on(view), &id, trace)?;
                }
            }
            return Ok(id);
        }
        Err(trace.refuse(STAGE, Skip::NoOrganisation, || {
            "nothing names the organisation".to_owned()
        }))
    }
}

fn look<'r>(
    source: &'r RouteSource,
    view: View<'r>,
    trace: &mut impl Trace,
) -> Result<Option<Said<'r>>, Skip> {
    let looked = source.look(view);
    looked.map_err(|skip| trace.refuse(STAGE, skip, || notes::twice(source)))
}

/// The fixed organisation applies where no source names one, so it contradicts none.
fn agrees(
    source: &RouteSource,
    said: Option<Said<'_>>,
    id: &Id,
    trace: &mut impl Trace,
) -> Result<(), Skip> {
    let Some(said) = said.filter(|said| !matches!(said, Said::Fixed(_))) else {
        return Ok(());
    };
    if said.id().as_ref() == Ok(id) {
        trace.found(STAGE, || format!("{}, as it must", source.says(&said)));
        return Ok(());
    }
    Err(trace.refuse(STAGE, Skip::AmbiguousField, || {
        format!(
            "{}, but {id} was named before, and they must agree",
            source.says(&said)
        )
    }))
}
