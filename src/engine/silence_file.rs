//! The silence file, read anew when it changes.

use std::{fs, io, path::PathBuf, time::SystemTime};

use crate::alert::{Filed, Silences, parse_silence_file};

/// The longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct SilenceFile {
    path: PathBuf,
    /// What the file was when it was last read; `None` while there is none.
    seen: Option<(SystemTime, u64)>,
}

impl SilenceFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// One `stat` a look, by `highwater-files`. A file that went away silences nothing more.
    pub(super) fn refresh(&mut self, silences: &Silences) {
        let found = fs::metadata(&self.path).and_then(|meta| Ok((meta.modified()?, meta.len())));
        match found {
            Ok(now) if self.seen == Some(now) => {}
            Ok(now) => {
                self.seen = Some(now);
                match read(&self.path, now.1) {
                    Ok(text) => {
                        let (read, mistakes) = parse_silence_file(&text);
                        log::info!(
                            "highwater: {} silences from {}",
                            read.len(),
                            self.path.display()
                        );
                        for mistake in mistakes {
                            log::warn!("highwater: {}: {mistake}", self.path.display());
                        }
                        silences.replace_filed(read);
                    }
                    Err(why) => log::warn!("highwater: {}: {why}", self.path.display()),
                }
            }
            Err(_) if self.seen.is_none() => {}
            Err(why) => {
                log::info!("highwater: {}: {why}: its silences end", self.path.display());
                self.seen = None;
                silences.replace_filed(Filed::default());
            }
        }
    }
}

fn read(path: &PathBuf, bytes: u64) -> io::Result<String> {
    if bytes > MAX_BYTES {
        return Err(io::Error::other(format!("{bytes} bytes, at most {MAX_BYTES} are read")));
    }
    // To open a pipe is to wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{event::Severity, name::Labels};

    #[test]
    fn a_changed_file_is_read_again_and_a_vanished_one_silences_nothing() {
        let path = std::env::temp_dir().join(format!("highwater-silences-{}", std::process::id()));
        let (silences, now) = (Silences::default(), SystemTime::now());
        let covered = |name: &str| {
            let labels = Labels::new([("alertname", name)]);
            silences.covers(&labels, Severity::Critical, now).is_some()
        };
        let mut file = SilenceFile::new(path.clone());
        file.refresh(&silences);
        assert!(!covered("A"));
        let far = now + Duration::from_secs(3_600);
        let far = far.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        fs::write(&path, format!("{far} alertname=A\n")).unwrap();
        file.refresh(&silences);
        assert!(covered("A") && !covered("Bee"));
        fs::write(&path, format!("{far} alertname=Bee\n")).unwrap();
        file.refresh(&silences);
        assert!(!covered("A") && covered("Bee"));
        fs::remove_file(&path).unwrap();
        file.refresh(&silences);
        assert!(!covered("Bee"));
    }
}
