//! Running a pinned program on a packet that nobody sent.
//!
//! The kernel runs the program as it would for a packet that the device receives, and hands back
//! what became of it (`BPF_PROG_TEST_RUN`). The packet goes nowhere. What the program writes into
//! maps is written.

use aya::programs::{TestRun, TestRunOptions};

use crate::{Error, Program};

/// What the program told the kernel to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on through the kernel's stack (`TC_ACT_UNSPEC`).
    Stack,
    /// It is dropped (`TC_ACT_SHOT`).
    Drop,
    /// It goes past the stack to another device (`TC_ACT_REDIRECT`).
    Redirect,
    /// Something else.
    Other(i32),
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Where it goes.
    pub action: Action,
    /// What it is like then, from its Ethernet header on.
    pub packet: Vec<u8>,
    /// Its mark.
    pub mark: u32,
}

/// Length of `struct __sk_buff`, and where some of its fields are.
const CONTEXT: usize = 192;
const MARK: usize = 8;
const IFINDEX: usize = 40;
/// More than the program could make of any packet.
const ROOM: usize = 4096;

impl Program {
    /// What becomes of a packet that the device receives, from its Ethernet header on.
    ///
    /// Call it in the device's network namespace.
    ///
    /// # Errors
    /// When there is no such device, or the packet is shorter than an Ethernet header or longer
    /// than a page.
    pub fn try_packet(&self, packet: &[u8], ifindex: u32) -> Result<Trial, Error> {
        let mut context = [0; CONTEXT];
        if let Some(field) = context.get_mut(IFINDEX..IFINDEX + 4) {
            field.copy_from_slice(&ifindex.to_ne_bytes());
        }
        let (mut out, mut context_out) = (vec![0; ROOM], [0; CONTEXT]);
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::default()
        };
        let result = self.runner()?.test_run(options).map_err(|source| Error::Program {
            action: "try",
            name: self.hook().program().to_owned(),
            source: Box::new(source),
        })?;
        out.truncate(result.data_size_out as usize);
        let mut mark = [0; 4];
        if let Some(field) = context_out.get(MARK..MARK + 4) {
            mark.copy_from_slice(field);
        }
        let action = Action::of(result.return_value.cast_signed());
        Ok(Trial { action, packet: out, mark: u32::from_ne_bytes(mark) })
    }
}

impl Action {
    const fn of(number: i32) -> Self {
        match number {
            -1 => Self::Stack,
            2 => Self::Drop,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}
