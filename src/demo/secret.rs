//! The secret that the demo's tokens are signed with. It is kept in a file, so that a restart does not invalidate them.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;

/// Bytes of a secret; the file has two hexadecimal digits for each.
const BYTES: usize = 32;

/// For the demo's settings.
pub struct DemoSecret {
    pub hexadecimal: String,
    /// Where it is kept, as `JWT_SECRET_FILE` takes it. `None`: it ends with this run.
    pub file: Option<PathBuf>,
    /// What the user should know: the file could not be used, or was replaced.
    pub warning: Option<String>,
}

/// What the file says.
enum Stored {
    Absent,
    Good(String),
    /// It is there, and not to be used.
    Unusable(String),
}

/// Reads the secret, or makes one and keeps it. Always gives a secret that works.
pub fn secret(environment: &BTreeMap<String, String>) -> DemoSecret {
    let Some(path) = path(environment) else {
        let hexadecimal = random();
        let warning = not_kept("neither XDG_STATE_HOME nor HOME is an absolute path");
        return DemoSecret {
            hexadecimal,
            file: None,
            warning: Some(warning),
        };
    };
    read_or_make(&path)
}

/// `$XDG_STATE_HOME/fleetcast/demo-secret`; without that variable below `~/.local/state`.
fn path(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let absolute = |name| {
        let path = environment.get(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("fleetcast/demo-secret"))
}

fn read_or_make(path: &Path) -> DemoSecret {
    let shown = path.display();
    let replaced = match read(path) {
        Stored::Good(hexadecimal) => {
            return DemoSecret {
                hexadecimal,
                file: Some(path.to_owned()),
                warning: None,
            };
        }
        Stored::Absent => None,
        Stored::Unusable(why) => Some(format!(
            "{shown} {why}: made a new secret, tokens of earlier runs are invalid"
        )),
    };
    let hexadecimal = random();
    match keep(path, &hexadecimal, replaced.is_some()) {
        Ok(hexadecimal) => DemoSecret {
            hexadecimal,
            file: Some(path.to_owned()),
            warning: replaced,
        },
        Err(error) => DemoSecret {
            hexadecimal,
            file: None,
            warning: Some(not_kept(&format!("cannot write {shown}: {error}"))),
        },
    }
}

fn not_kept(why: &str) -> String {
    format!("the demo's secret is not kept ({why}): tokens are invalid after a restart")
}

fn read(path: &Path) -> Stored {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Stored::Absent,
        Err(error) => return Stored::Unusable(format!("cannot be read ({error})")),
    };
    let content = file.metadata().and_then(|meta| {
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut content = Vec::new();
        // One byte more than the digits and their line end, so that a longer file shows.
        let most = u64::try_from(2 * BYTES + 2).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut content)?;
        Ok((meta.mode(), content))
    });
    match content {
        Err(error) => Stored::Unusable(format!("cannot be read ({error})")),
        Ok((mode, _)) if mode & 0o077 != 0 => {
            Stored::Unusable("could be read or written by other users".to_owned())
        }
        Ok((_, content)) => match hexadecimal(&content) {
            Some(hexadecimal) => Stored::Good(hexadecimal),
            None => Stored::Unusable(format!(
                "is damaged: expected {} hexadecimal digits",
                2 * BYTES
            )),
        },
    }
}

fn hexadecimal(content: &[u8]) -> Option<String> {
    let digits = content.strip_suffix(b"\n").unwrap_or(content);
    let good = digits.len() == 2 * BYTES && digits.iter().all(u8::is_ascii_hexdigit);
    good.then(|| String::from_utf8_lossy(digits).into_owned())
}

fn random() -> String {
    let [high, low]: [u128; 2] = rand::rng().random();
    format!("{high:032x}{low:032x}")
}

/// Writes the whole file or nothing. Of two demos that start at once the first one's secret is the one that both use.
fn keep(path: &Path, hexadecimal: &str, replace: bool) -> io::Result<String> {
    let folder = path.parent().ok_or(ErrorKind::NotFound)?;
    let parents = folder.parent().ok_or(ErrorKind::NotFound)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parents)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        made => made?,
    }
    let new = folder.join(format!(".demo-secret-{}", &random()[..16]));
    let written = write(&new, hexadecimal).and_then(|()| {
        if replace {
            fs::rename(&new, path)
        } else {
            fs::hard_link(&new, path)
        }
    });
    // After a rename it is not there any more.
    drop(fs::remove_file(&new));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match read(path) {
            Stored::Good(theirs) => Ok(theirs),
            _ => Err(error),
        },
        written => written.map(|()| hexadecimal.to_owned()),
    }
}

fn write(path: &Path, hexadecimal: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(format!("{hexadecimal}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folder: &Path) -> BTreeMap<String, String> {
        BTreeMap::from([("HOME".to_owned(), folder.to_str().unwrap().to_owned())])
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_second_start_has_the_secret_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = secret(&home(folder.path()));
        assert_eq!(
            (first.hexadecimal.len(), first.warning),
            (2 * BYTES, None),
            "a secret was made and kept"
        );
        let again = secret(&home(folder.path()));
        assert_eq!(
            (again.hexadecimal, again.warning),
            (first.hexadecimal, None)
        );
        let file = folder.path().join(".local/state/fleetcast/demo-secret");
        assert_eq!(first.file.as_ref(), Some(&file));
        assert_eq!(again.file.as_ref(), Some(&file));
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        let beside = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
    }

    #[test]
    fn the_state_folder_of_the_environment_counts_if_it_is_absolute() {
        let path = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            path(&pairs.collect()).map(|path| path.to_str().unwrap().to_owned())
        };
        let of_home = Some("/h/.local/state/fleetcast/demo-secret".to_owned());
        let of_state = Some("/s/fleetcast/demo-secret".to_owned());
        assert_eq!(path(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), of_state);
        assert_eq!(path(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")]), of_home);
        assert_eq!(path(&[("HOME", "/h"), ("XDG_STATE_HOME", "")]), of_home);
        assert_eq!(path(&[("HOME", "")]), None);
        assert_eq!(path(&[]), None);
        assert!(secret(&BTreeMap::new()).warning.is_some());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_replaced_and_the_user_is_warned() {
        let good = "ab".repeat(BYTES);
        let cases: [(&str, &[u8], u32, &str); 7] = [
            ("empty", b"", 0o600, "is damaged"),
            ("short", b"abcdef\n", 0o600, "is damaged"),
            ("long", &[b'a'; 2 * BYTES + 1], 0o600, "is damaged"),
            ("not hexadecimal", &[b'x'; 2 * BYTES], 0o600, "is damaged"),
            ("not UTF-8", &[0xff; 2 * BYTES], 0o600, "is damaged"),
            ("readable by all", good.as_bytes(), 0o644, "other users"),
            (
                "writable by the group",
                good.as_bytes(),
                0o620,
                "other users",
            ),
        ];
        for (case, content, permissions, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join(".local/state/fleetcast");
            fs::create_dir_all(&state).unwrap();
            let file = state.join("demo-secret");
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(permissions)).unwrap();
            let made = secret(&home(folder.path()));
            let warning = made.warning.unwrap_or_default();
            assert!(warning.contains(expected), "{case}: {warning}");
            assert_ne!(made.hexadecimal, good, "{case}");
            assert_eq!((mode(&file), mode(&state)), (0o600, 0o700), "{case}");
            let again = secret(&home(folder.path()));
            assert_eq!(again.hexadecimal, made.hexadecimal, "{case}");
        }
    }

    #[test]
    fn without_a_place_to_write_a_secret_of_this_run_is_used() {
        let folder = tempfile::tempdir().unwrap();
        // Works for root too, whom permissions do not stop.
        fs::write(folder.path().join(".local"), "a file, not a folder").unwrap();
        let made = secret(&home(folder.path()));
        let warning = made.warning.unwrap();
        assert!(
            warning.contains("is not kept") && warning.contains("demo-secret"),
            "{warning}"
        );
        assert_eq!(made.hexadecimal.len(), 2 * BYTES);

        let state = folder.path().join("state");
        fs::create_dir_all(state.join("fleetcast/demo-secret")).unwrap();
        let state = BTreeMap::from([(
            "XDG_STATE_HOME".to_owned(),
            state.to_str().unwrap().to_owned(),
        )]);
        let made = secret(&state);
        assert!(
            made.warning.unwrap().contains("is not kept"),
            "a folder stands there"
        );
    }

    #[test]
    fn of_two_that_start_at_once_both_have_the_first_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleetcast/demo-secret");
        let first = "1".repeat(2 * BYTES);
        assert_eq!(keep(&path, &first, false).unwrap(), first);
        let second = keep(&path, &"2".repeat(2 * BYTES), false).unwrap();
        assert_eq!(second, first);
    }
}
