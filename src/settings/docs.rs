//! docs/configuration.md, whose tables are written from the table of variables. All else is written there.

use super::issuers::{FIELDS, IssuerField};
use super::table::{Availability, Fallback, SECTIONS, Variable, variables};

const PAGE: &str = include_str!("../../docs/configuration.md");

/// Between these two something is generated: `<!-- table: Listeners -->…<!-- end -->`.
const START: &str = "<!-- table: ";
const END: &str = "<!-- end -->";

/// The section for variables of parts that are not in this version.
const UNAVAILABLE: &str = "Known, but not in this version";

/// The page, with what is generated as the table of variables has it now.
pub fn markdown() -> String {
    let mut parts = PAGE.split(START);
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").unwrap_or((part, ""));
        let (_, rest) = rest.split_once(END).unwrap_or_default();
        page.extend([START, name, " -->", &generated(name), END, rest]);
    }
    page
}

fn generated(name: &str) -> String {
    let is_available = |one: &&Variable| one.availability == Availability::Available;
    if name == "on reload" {
        let reloadable = variables().filter(|variable| variable.on_reload);
        let names: Vec<_> = reloadable.map(|one| format!("`{}`", one.name)).collect();
        return names.join(", ");
    }
    if name == UNAVAILABLE {
        let unavailable = variables().filter(|one| !is_available(one));
        return table("asking for it", unavailable, |variable| {
            match variable.availability {
                Availability::Rejected => "stops the start".to_owned(),
                Availability::Ignored | Availability::Available => "is a warning".to_owned(),
            }
        });
    }
    if name == "issuers" {
        let rows = FIELDS.iter().map(|field| {
            let IssuerField {
                name,
                kind,
                meaning,
            } = field;
            format!("| `{name}` | {} | {meaning} |\n", kind.form)
        });
        let head = "\n| key | value | meaning |\n|---|---|---|\n".to_owned();
        return rows.fold(head, |table, row| table + &row);
    }
    let section = SECTIONS.iter().filter(|(heading, _)| *heading == name);
    let variables = section.flat_map(|(_, variables)| *variables);
    table("value", variables.filter(is_available), |one| {
        one.kind.form.to_owned()
    })
}

/// One row for each variable. `column` is the third column, which `cell` fills.
fn table<'a>(
    column: &str,
    variables: impl Iterator<Item = &'a Variable>,
    cell: impl Fn(&Variable) -> String,
) -> String {
    let mut text = format!(
        "\n| variable | in the file | {column} | default | meaning |\n|---|---|---|---|---|\n"
    );
    for variable in variables {
        let name = match variable.alias {
            Some(alias) => format!("`{}` (or `{alias}`)", variable.name),
            None => format!("`{}`", variable.name),
        };
        let key = variable
            .key()
            .map_or("-".to_owned(), |key| format!("`{key}`"));
        let default = match variable.default {
            Fallback::Required => "required".to_owned(),
            Fallback::Unset => "-".to_owned(),
            Fallback::Value("") => "empty".to_owned(),
            Fallback::Value(text) => format!("`{text}`"),
        };
        let row = [&name, &key, &cell(variable), &default, variable.meaning].join(" | ");
        text.extend(["| ", &row, " |\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_has_the_tables_of_this_version() {
        assert!(
            PAGE == markdown(),
            "write it again: cargo run -- config doc > page && mv page docs/configuration.md"
        );
        for variable in variables() {
            let row = format!("\n| `{}`", variable.name);
            assert_eq!(PAGE.matches(&row).count(), 1, "{}", variable.name);
        }
    }
}
