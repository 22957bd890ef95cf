//! Learning that the directory changed.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Event, EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::catalog::is_manifest;

/// After a change, further ones are awaited for this long ...
const QUIET: Duration = Duration::from_millis(10);
/// ... but no longer than this in all.
const PATIENCE: Duration = Duration::from_millis(100);
/// When nothing was reported, one looks nevertheless: links may lead to places that are not
/// watched, and some file systems report nothing.
const RESCAN: Duration = Duration::from_secs(10);
/// The same while there is no inotify.
const BLIND_RESCAN: Duration = Duration::from_secs(1);
/// A file that was written to and not closed is read nevertheless after this time.
const WRITING: Duration = Duration::from_secs(2);

/// The link whose replacement makes all files of a mounted ConfigMap new at once.
const CONFIG_MAP_LINK: &str = "..data";

/// Why changes are seen late.
#[derive(Debug, Error)]
#[error(
    "changes of manifests are seen up to a second late, because inotify cannot be used \
     (are there enough of fs.inotify.max_user_instances and max_user_watches?): {0}"
)]
pub(super) struct Blind(#[source] io::Error);

/// What changed: all there is until something is known.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files that were reported; none if there may be others.
    only: Option<HashSet<OsString>>,
    /// Files that were reported, among others.
    among: HashSet<OsString>,
    being_written: HashSet<OsString>,
}

impl Changes {
    /// These files and no others.
    #[cfg(test)]
    pub(super) fn of(names: impl IntoIterator<Item = OsString>) -> Self {
        Self { only: Some(names.into_iter().collect()), ..Self::default() }
    }

    /// The files that alone may have changed, if that is known.
    pub(super) const fn only(&self) -> Option<&HashSet<OsString>> {
        self.only.as_ref()
    }

    /// The same where there may be others.
    pub(super) fn among_others(self) -> Self {
        let Self { only, mut among, being_written } = self;
        among.extend(only.into_iter().flatten());
        Self { only: None, among, being_written }
    }

    /// Whether the file was reported.
    pub(super) fn names(&self, name: &OsStr) -> bool {
        self.only.as_ref().unwrap_or(&self.among).contains(name)
    }

    /// Whether somebody is about to write the file and would let us read half of it.
    pub(super) fn is_being_written(&self, name: &OsStr) -> bool {
        self.being_written.contains(name)
    }
}

/// What an event tells.
enum News {
    /// Nothing of interest.
    Nothing,
    /// A file is as its writer wants it.
    Whole(OsString),
    /// A file is gone or not finished: something may follow.
    Begun(OsString),
    /// Anything may have changed.
    Anything,
}

/// Follows the directory, and while it is missing the place where it would come.
pub(super) struct Follower {
    directory: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
    /// The watch on the directory.
    inside: Option<WatchDescriptor>,
    /// The watch on the nearest folder above that exists, and the name that matters in it.
    above: Option<(WatchDescriptor, OsString)>,
    writing: HashMap<OsString, Instant>,
    /// When something was last reported.
    heard: Option<Instant>,
    /// When everything was last looked at.
    scanned: Instant,
}

impl Follower {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            events: None,
            inside: None,
            above: None,
            writing: HashMap::new(),
            heard: None,
            scanned: Instant::now(),
        }
    }

    /// Watches what is there now. To be called before the directory is read, each time.
    pub(super) fn attach(&mut self) -> Option<Blind> {
        let attached = self.try_attach();
        if attached.is_err() {
            (self.events, self.inside, self.above) = (None, None, None);
        }
        attached.err().map(Blind)
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
        // The same directory gives the same descriptor; another one under that name another.
        let inside = existing(watches.add(&self.directory, contents))?;
        if let Some(old) = self.inside.take().filter(|old| Some(old) != inside.as_ref()) {
            // It fails if the directory is gone, and the watch with it.
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

    /// Waits until something may have changed. A file that is whole is told at once if there was
    /// quiet before; in a burst, one waits for a moment in which nothing more happens.
    pub(super) async fn changed(&mut self) -> Changes {
        let rescan = if self.events.is_none() {
            BLIND_RESCAN
        } else if self.writing.is_empty() {
            RESCAN
        } else {
            WRITING
        };
        let mut quiet_before = None;
        let mut deadline = self.scanned + rescan;
        let mut latest = None;
        let mut names = HashSet::new();
        let mut begun = HashSet::new();
        // Where files change all the time a look at everything waits for a pause, but not forever.
        let mut anything = self.scanned.elapsed() >= rescan * 2;
        while let Ok(event) = timeout_at(deadline, next(&mut self.events)).await {
            match self.read(event) {
                News::Nothing => continue,
                News::Anything => anything = true,
                News::Whole(name) => {
                    begun.remove(&name);
                    names.insert(name);
                }
                News::Begun(name) => {
                    begun.insert(name.clone());
                    names.insert(name);
                }
            }
            let now = Instant::now();
            let heard = self.heard.replace(now);
            let is_quiet =
                *quiet_before.get_or_insert_with(|| heard.is_none_or(|heard| now >= heard + QUIET));
            let latest = *latest.get_or_insert(now + PATIENCE);
            let is_whole = is_quiet && begun.is_empty() && !anything;
            deadline = if is_whole { now } else { (now + QUIET).min(latest) };
        }
        // Whoever has not closed a file by now does not hold up the others.
        let hung = self.writing.extract_if(|_, since| since.elapsed() >= WRITING);
        names.extend(hung.map(|(name, _)| name));
        anything |= names.is_empty();
        let being_written = self.writing.keys().cloned().collect();
        if anything {
            self.scanned = Instant::now();
            return Changes { only: None, among: names, being_written };
        }
        Changes { only: Some(names), among: HashSet::new(), being_written }
    }

    fn read(&mut self, event: io::Result<Event<OsString>>) -> News {
        let Ok(Event { wd, mask, name, .. }) = event else {
            // It is set up anew, and everything is looked at.
            self.events = None;
            return News::Anything;
        };
        if mask.contains(EventMask::Q_OVERFLOW) {
            return News::Anything;
        }
        if self.above.as_ref().is_some_and(|(above, awaited)| {
            *above == wd && name.as_ref().is_none_or(|name| name == awaited)
        }) {
            return News::Anything;
        }
        if self.inside.as_ref() != Some(&wd) {
            return News::Nothing;
        }
        let Some(name) = name else {
            let is_moot = mask.contains(EventMask::ATTRIB);
            return if is_moot { News::Nothing } else { News::Anything };
        };
        if !is_manifest(&name) {
            return if name == CONFIG_MAP_LINK { News::Anything } else { News::Nothing };
        }
        if mask.contains(EventMask::MODIFY) {
            self.writing.insert(name.clone(), Instant::now());
        } else if !mask.intersects(EventMask::CREATE | EventMask::ATTRIB) {
            self.writing.remove(&name);
        }
        if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
            News::Whole(name)
        } else {
            News::Begun(name)
        }
    }
}

async fn next(events: &mut Option<EventStream<Vec<u8>>>) -> io::Result<Event<OsString>> {
    let Some(stream) = events else {
        return std::future::pending().await;
    };
    stream.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// Nothing to watch is no error.
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
