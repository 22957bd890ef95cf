//! Programs at network devices.
//!
//! A program is attached as a filter of the device's `clsact` queueing discipline, under a priority
//! and a handle that nobody else is likely to use, because a request with the same numbers replaces
//! whatever is there. The name of what is there is looked at first.

use std::io;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use rustix::io::Errno;

use crate::request::{self, Change};
use crate::{Error, Program};

/// Weir's place among a device's filters: "weir" as a handle.
const HANDLE: u32 = 0x7765_6972;
/// The place behind it, of programs for the outside: an uplink can have one of the overlay's too.
const OUTER_HANDLE: u32 = HANDLE + 1;
/// The priority of Weir's filters.
pub const PRIORITY: u16 = 0x5765;
/// Packets of every protocol.
const ETH_P_ALL: u16 = 3;

/// A place of a device where one of Weir's programs belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// What a pod sends: the host's end of its veth receives it.
    FromPod,
    /// What a pod gets: the host's end of its veth sends it.
    ToPod,
    /// What other nodes send: the tunnel's device receives it.
    FromOverlay,
    /// What comes from outside of the node: an uplink receives it.
    FromUplink,
    /// What leaves the node: an uplink sends it.
    ToUplink,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] =
        [Self::FromPod, Self::ToPod, Self::FromOverlay, Self::FromUplink, Self::ToUplink];

    /// Both hooks of a pod's veth.
    pub const POD: [Self; 2] = [Self::FromPod, Self::ToPod];

    /// Every hook of a device that is no pod's.
    pub const NODE: [Self; 3] = [Self::FromOverlay, Self::FromUplink, Self::ToUplink];

    /// Both hooks of an uplink.
    pub const UPLINK: [Self; 2] = [Self::FromUplink, Self::ToUplink];

    /// The name of the program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromOverlay => "from_overlay",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
        }
    }

    /// What the filter is called, so that everybody can see whose it is.
    fn filter(self) -> String {
        format!("weir/{}", self.program())
    }

    const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::FromPod | Self::FromOverlay | Self::FromUplink => TcHandle::MIN_INGRESS,
            Self::ToPod | Self::ToUplink => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: u16::MAX, minor }
    }

    const fn handle(self) -> u32 {
        match self {
            Self::FromPod | Self::ToPod | Self::FromOverlay => HANDLE,
            Self::FromUplink | Self::ToUplink => OUTER_HANDLE,
        }
    }
}

/// A filter that is one of Weir's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The device.
    pub ifindex: u32,
    /// The kernel's number of the program.
    pub program: u32,
}

/// Attaches a program to a device, or replaces the one that is attached, in one request: no packet
/// passes without. Tells whether there was something to do.
///
/// # Errors
/// When there is no such device ([`Error::is_not_found`]), or another tool's filter is in Weir's
/// place.
pub fn attach(ifindex: u32, program: &Program) -> Result<bool, Error> {
    attach_all(ifindex, std::slice::from_ref(program))
}

/// The same for several at once: a device that has just been made has them after one exchange with the
/// kernel. Tells whether there was something to do for any.
///
/// # Errors
/// As [`attach`]; the others may be attached then.
pub fn attach_all(ifindex: u32, programs: &[Program]) -> Result<bool, Error> {
    let mut changes = vec![new_clsact(ifindex)?];
    for program in programs {
        changes.push(set(ifindex, program, NLM_F_EXCL)?);
    }
    let mut outcomes =
        request::change_all(changes).map_err(failed("set a filter", ifindex))?.into_iter();
    match outcomes.next() {
        Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("add the clsact discipline", ifindex)(error));
        }
        _ => {}
    }
    let mut changed = false;
    for (program, outcome) in programs.iter().zip(outcomes) {
        changed |= match outcome {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                replace(ifindex, program)?
            }
            Err(error) => return Err(failed("set a filter", ifindex)(error)),
        };
    }
    Ok(changed)
}

/// Replaces what is in Weir's place, if it is Weir's.
fn replace(ifindex: u32, program: &Program) -> Result<bool, Error> {
    let hook = program.hook();
    match find(ifindex, hook)? {
        Some(found) if found.name != hook.filter() => {
            return Err(Error::Foreign { ifindex, found: found.name, wanted: hook.filter() });
        }
        Some(found) if found.program == program.id() => return Ok(false),
        _ => {}
    }
    let Change { message, flags } = set(ifindex, program, 0)?;
    request::change(message, flags).map_err(failed("set a filter", ifindex))?;
    Ok(true)
}

/// Puts a program in Weir's place; with `NLM_F_EXCL` only if nothing is there.
fn set(ifindex: u32, program: &Program, flags: u16) -> Result<Change, Error> {
    let hook = program.hook();
    let mut message = address(ifindex, hook)?;
    let fd = program.raw_fd().cast_unsigned();
    message.attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(fd)),
            TcOption::Bpf(TcFilterBpfOption::ProgName(hook.filter())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]),
    ];
    let message = RouteNetlinkMessage::NewTrafficFilter(message);
    Ok(Change { message, flags: NLM_F_CREATE | flags })
}

/// Which of Weir's programs is at a hook of a device.
///
/// # Errors
/// When there is no such device.
pub fn list(ifindex: u32, hook: Hook) -> Result<Option<Attached>, Error> {
    let found = find(ifindex, hook)?.filter(|found| found.name == hook.filter());
    Ok(found.map(|found| Attached { ifindex, program: found.program }))
}

/// Takes Weir's program away from a hook of a device, if it is there; tells whether it was.
///
/// # Errors
/// When the kernel refuses.
pub fn detach(ifindex: u32, hook: Hook) -> Result<bool, Error> {
    if list(ifindex, hook)?.is_none() {
        return Ok(false);
    }
    let mut message = address(ifindex, hook)?;
    message.attributes = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
    request::change(RouteNetlinkMessage::DelTrafficFilter(message), 0)
        .map_err(failed("remove a filter", ifindex))?;
    Ok(true)
}

/// The filter in Weir's place.
struct Found {
    name: String,
    program: u32,
}

fn find(ifindex: u32, hook: Hook) -> Result<Option<Found>, Error> {
    let mut message = TcMessage::default();
    message.header.index = index(ifindex)?;
    message.header.parent = hook.parent();
    let answers = match request::dump(RouteNetlinkMessage::GetTrafficFilter(message)) {
        // Without a clsact discipline there are no filters.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Ok(None),
        answers => answers.map_err(failed("list the filters", ifindex))?,
    };
    let ours = |message: &TcMessage| {
        message.header.handle == TcHandle::from(hook.handle())
            && message.header.info >> 16 == u32::from(PRIORITY)
    };
    Ok(answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(message) if ours(&message) => Some(read(message)),
        _ => None,
    }))
}

fn read(message: TcMessage) -> Found {
    let mut found = Found { name: "a filter of another kind".to_owned(), program: 0 };
    let options = message.attributes.into_iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    for option in options.flatten() {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => found.name = name,
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => found.program = id,
            _ => {}
        }
    }
    found
}

/// Adds the discipline whose filters programs are, unless there is one.
fn new_clsact(ifindex: u32) -> Result<Change, Error> {
    let mut message = TcMessage::default();
    message.header.index = index(ifindex)?;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    Ok(Change { message, flags: NLM_F_CREATE | NLM_F_EXCL })
}

/// Weir's place at a hook of a device.
fn address(ifindex: u32, hook: Hook) -> Result<TcMessage, Error> {
    let mut message = TcMessage::default();
    message.header.index = index(ifindex)?;
    message.header.parent = hook.parent();
    message.header.handle = hook.handle().into();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    Ok(message)
}

fn index(ifindex: u32) -> Result<i32, Error> {
    i32::try_from(ifindex).map_err(|_| failed("address a filter", ifindex)(Errno::NODEV.into()))
}

fn failed(step: &'static str, ifindex: u32) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Filter { step, ifindex, source }
}
