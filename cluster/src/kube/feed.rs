//! What is known of one kind of object, and how following it goes.

use std::time::{Duration, Instant, SystemTime};

use super::desk::{Outbox, Section};
use super::followed::Followed;
use super::inventory::Inventory;
use super::trouble::{Kind, Trouble};
use super::watch::InitialList;
use crate::backoff::Backoff;

/// With trouble that lasts this long, everything is set up anew: the API server may have moved.
const MOVED: Duration = Duration::from_secs(60);

/// One kind of object.
#[derive(Debug)]
pub(super) struct Feed<K: Followed> {
    pub(super) inventory: Inventory<K>,
    pub(super) trouble: Option<Trouble>,
    pub(super) initial_list: InitialList,
    in_step: Option<Instant>,
    backoff: Backoff,
}

impl<K: Followed> Default for Feed<K> {
    fn default() -> Self {
        Self {
            inventory: Inventory::default(),
            trouble: None,
            initial_list: InitialList::Streamed,
            in_step: None,
            backoff: Backoff::default(),
        }
    }
}

impl<K: Followed> Feed<K> {
    /// Notes trouble, says so, and waits before the next attempt.
    pub(super) async fn suffer(&mut self, kind: Kind, outbox: &Outbox<'_>) {
        let before = self.trouble.take();
        if before.is_none() {
            // Until now there was none.
            self.backoff.reset();
        }
        self.trouble = Some(Trouble::next(before.as_ref(), kind, SystemTime::now()));
        self.post(outbox);
        tokio::time::sleep(self.backoff.next()).await;
    }

    /// Notes that what is known is what the API server knows.
    pub(super) fn be_in_step(&mut self, outbox: &Outbox<'_>) {
        self.trouble = None;
        if self.inventory.contents().is_some() {
            self.in_step = Some(Instant::now());
        }
        self.post(outbox);
    }

    pub(super) fn needs_new_client(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            trouble.wants_new_client()
                || (trouble.may_be_elsewhere() && trouble.lasts(SystemTime::now()) > MOVED)
        })
    }

    fn post(&self, outbox: &Outbox<'_>) {
        outbox.post::<K>(Section {
            contents: self.inventory.contents().cloned(),
            trouble: self.trouble.clone(),
            wrong: self.inventory.wrong().cloned().collect(),
            in_step: self.in_step,
        });
    }
}
