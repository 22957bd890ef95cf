//! Running a pinned program on a made-up packet.
//!
//! The kernel runs the program as for a packet that the device receives, and returns the packet and
//! the verdict (`BPF_PROG_TEST_RUN`). The packet is not sent. The program's changes to maps are real.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};

use crate::{Error, Program};

/// The verdict of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The packet goes on through the kernel's stack (`TC_ACT_UNSPEC`).
    Stack,
    /// The packet is dropped (`TC_ACT_SHOT`).
    Drop,
    /// The packet bypasses the stack to another device (`TC_ACT_REDIRECT`).
    Redirect,
    /// Another verdict.
    Other(i32),
}

/// The result for a packet.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The verdict.
    pub action: Action,
    /// The packet afterwards, from its Ethernet header on.
    pub packet: Vec<u8>,
    /// Its mark.
    pub mark: u32,
    /// How long the program took, as the kernel measured it.
    pub took: Duration,
}

/// The length of `struct __sk_buff`, and the offsets of some of its fields.
const CONTEXT: usize = 192;
const MARK: usize = 8;
const IFINDEX: usize = 40;
/// Room for the packet afterwards: more than any program produces.
const ROOM: usize = 4096;

impl Program {
    /// Runs the program on a packet, from its Ethernet header on, as if the device had received it.
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
        let mark = u32::from_ne_bytes(mark);
        Ok(Trial { action, packet: out, mark, took: result.duration })
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
