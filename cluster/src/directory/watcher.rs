//! Watching the directory with inotify.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Event, EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::changes::Changes;
use super::manifest_file::is_manifest;

/// After an event, further ones are awaited for this long ...
const QUIET: Duration = Duration::from_millis(10);
/// ... but not longer than this in all.
const LONGEST_BURST: Duration = Duration::from_millis(100);
/// All files are checked after this time without events: links may lead to places that are not
/// watched, and some file systems report no events.
const RESCAN: Duration = Duration::from_secs(10);
/// The same while inotify cannot be used.
const RESCAN_WITHOUT_WATCH: Duration = Duration::from_secs(1);
/// A file that was written to and not closed is read after this time.
const WRITER_TIMEOUT: Duration = Duration::from_secs(2);

/// The link whose replacement makes all files of a mounted ConfigMap new at once.
const CONFIG_MAP_LINK: &str = "..data";

/// Why inotify cannot be used.
#[derive(Debug, Error)]
#[error(
    "changes of manifests are seen up to a second late, because inotify cannot be used \
     (are there enough of fs.inotify.max_user_instances and max_user_watches?): {0}"
)]
pub(super) struct WatchUnavailable(#[source] io::Error);

/// What an inotify event means.
enum FsEvent {
    /// No file that may have changed.
    Irrelevant,
    /// A file has been written completely.
    Complete(OsString),
    /// A file is gone or is being written: more events may follow.
    Incomplete(OsString),
    /// Any file may have changed.
    Any,
}

/// Watches the directory, and the nearest existing folder above it in case it is missing.
pub(super) struct DirectoryWatcher {
    directory: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
    /// The watch on the directory.
    inside: Option<WatchDescriptor>,
    /// The watch on the nearest folder above that exists, and the name that matters in it.
    above: Option<(WatchDescriptor, OsString)>,
    /// Files that a writer has open, and when it last wrote.
    writing: HashMap<OsString, Instant>,
    /// When the last event arrived.
    last_event: Option<Instant>,
    /// When all files were last checked.
    last_scan: Instant,
}

impl DirectoryWatcher {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            events: None,
            inside: None,
            above: None,
            writing: HashMap::new(),
            last_event: None,
            last_scan: Instant::now(),
        }
    }

    /// Watches the directory that exists now. To be called each time before the directory is read.
    pub(super) fn attach(&mut self) -> Option<WatchUnavailable> {
        let attached = self.try_attach();
        if attached.is_err() {
            (self.events, self.inside, self.above) = (None, None, None);
        }
        attached.err().map(WatchUnavailable)
    }

    fn try_attach(&mut self) -> io::Result<()> {
        let events = match &mut self.events {
            Some(events) => events,
            none => none.insert(Inotify::init()?.into_event_stream(vec![0; 4096])?),
        };
        let mut watches = events.watches();
        let contents = WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ATTRIB;
        // The same directory has the same descriptor. A new directory of that name has another one.
        let inside = existing(watches.add(&self.directory, contents))?;
        if let Some(old) = self.inside.take().filter(|old| Some(old) != inside.as_ref()) {
            // This fails if the directory, and with it the watch, is gone.
            let _ = watches.remove(old);
        }
        self.inside = inside;

        let names = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE;
        let mut above = None;
        let mut below = self.directory.as_path();
        while let (Some(folder), Some(name)) = (below.parent(), below.file_name()) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if let Some(watch) = existing(watches.add(folder, names))? {
                above = Some((watch, name.to_owned()));
                break;
            }
            below = folder;
        }
        let is_new = |old: &WatchDescriptor| above.as_ref().is_none_or(|(new, _)| new != old);
        if let Some((old, _)) = self.above.take().filter(|(old, _)| is_new(old)) {
            let _ = watches.remove(old);
        }
        self.above = above;
        Ok(())
    }

    /// Waits until files may have changed. A file that has been written completely is returned at once
    /// unless it is part of a burst of events: then this waits for a pause.
    pub(super) async fn changed(&mut self) -> Changes {
        let rescan = if self.events.is_none() {
            RESCAN_WITHOUT_WATCH
        } else if self.writing.is_empty() {
            RESCAN
        } else {
            WRITER_TIMEOUT
        };
        let mut was_quiet = None;
        let mut deadline = self.last_scan + rescan;
        let mut latest = None;
        let mut names = HashSet::new();
        let mut incomplete = HashSet::new();
        // Where files change all the time the check of all files waits for a pause, but not forever.
        let mut any_file = self.last_scan.elapsed() >= rescan * 2;
        while let Ok(event) = timeout_at(deadline, next(&mut self.events)).await {
            match self.read(event) {
                FsEvent::Irrelevant => continue,
                FsEvent::Any => any_file = true,
                FsEvent::Complete(name) => {
                    incomplete.remove(&name);
                    names.insert(name);
                }
                FsEvent::Incomplete(name) => {
                    incomplete.insert(name.clone());
                    names.insert(name);
                }
            }
            let now = Instant::now();
            let last_event = self.last_event.replace(now);
            let is_quiet = *was_quiet.get_or_insert_with(|| {
                last_event.is_none_or(|last_event| now >= last_event + QUIET)
            });
            let latest = *latest.get_or_insert(now + LONGEST_BURST);
            let is_complete = is_quiet && incomplete.is_empty() && !any_file;
            deadline = if is_complete { now } else { (now + QUIET).min(latest) };
        }
        // A writer that has not closed its file by now does not delay the other files.
        let timed_out = self.writing.extract_if(|_, since| since.elapsed() >= WRITER_TIMEOUT);
        names.extend(timed_out.map(|(name, _)| name));
        any_file |= names.is_empty();
        let being_written = self.writing.keys().cloned().collect();
        if any_file {
            self.last_scan = Instant::now();
            return Changes { only: None, among: names, being_written };
        }
        Changes { only: Some(names), among: HashSet::new(), being_written }
    }

    fn read(&mut self, event: io::Result<Event<OsString>>) -> FsEvent {
        let Ok(Event { wd, mask, name, .. }) = event else {
            // inotify is set up again, and all files are checked.
            self.events = None;
            return FsEvent::Any;
        };
        if mask.contains(EventMask::Q_OVERFLOW) {
            return FsEvent::Any;
        }
        if self.above.as_ref().is_some_and(|(above, awaited)| {
            *above == wd && name.as_ref().is_none_or(|name| name == awaited)
        }) {
            return FsEvent::Any;
        }
        if self.inside.as_ref() != Some(&wd) {
            return FsEvent::Irrelevant;
        }
        let Some(name) = name else {
            let is_irrelevant = mask.contains(EventMask::ATTRIB);
            return if is_irrelevant { FsEvent::Irrelevant } else { FsEvent::Any };
        };
        if !is_manifest(&name) {
            return if name == CONFIG_MAP_LINK { FsEvent::Any } else { FsEvent::Irrelevant };
        }
        if mask.contains(EventMask::MODIFY) {
            self.writing.insert(name.clone(), Instant::now());
        } else if !mask.intersects(EventMask::CREATE | EventMask::ATTRIB) {
            self.writing.remove(&name);
        }
        if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
            FsEvent::Complete(name)
        } else {
            FsEvent::Incomplete(name)
        }
    }
}

async fn next(events: &mut Option<EventStream<Vec<u8>>>) -> io::Result<Event<OsString>> {
    let Some(stream) = events else {
        return std::future::pending().await;
    };
    stream.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// A path that does not exist is not an error.
fn existing(added: io::Result<WatchDescriptor>) -> io::Result<Option<WatchDescriptor>> {
    match added {
        Ok(watch) => Ok(Some(watch)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
