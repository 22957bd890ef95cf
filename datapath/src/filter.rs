//! Programs at network devices.
//!
//! A program is attached as a filter of the device's `clsact` queueing discipline. A request with the
//! priority and handle of an existing filter replaces it, so Weir uses numbers that other tools are
//! unlikely to use, and checks the name of an existing filter first.

use std::io;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use rustix::io::Errno;

use crate::request::{self, Change};
use crate::{Error, Hook, Program};

/// The priority of Weir's filters.
pub const PRIORITY: u16 = 0x5765;
/// Packets of every protocol.
const ETH_P_ALL: u16 = 3;

/// A filter that is one of Weir's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The device.
    pub ifindex: u32,
    /// The ID of the program.
    pub program: u32,
}

/// Attaches a program to a device, or replaces the attached one atomically: every packet meets one of
/// them. Returns whether anything was changed.
///
/// # Errors
/// When there is no such device ([`Error::is_not_found`]), or another tool's filter has Weir's
/// priority and handle.
pub fn attach(ifindex: u32, program: &Program) -> Result<bool, Error> {
    attach_all(ifindex, std::slice::from_ref(program))
}

/// Attaches several programs with one exchange with the kernel, if the device has none yet. Returns
/// whether anything was changed.
///
/// # Errors
/// As for [`attach`]. The other programs may be attached then.
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

/// Replaces the filter with Weir's numbers, if it is Weir's.
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

/// The request to set the filter with Weir's numbers; with `NLM_F_EXCL` only if there is none.
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

/// The program of Weir at a hook of a device.
///
/// # Errors
/// When there is no such device.
pub fn list(ifindex: u32, hook: Hook) -> Result<Option<Attached>, Error> {
    let found = find(ifindex, hook)?.filter(|found| found.name == hook.filter());
    Ok(found.map(|found| Attached { ifindex, program: found.program }))
}

/// Detaches Weir's program from a hook of a device. Returns whether it was attached.
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

/// The filter with Weir's priority and handle.
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

/// The request to add the `clsact` discipline, unless there is one.
fn new_clsact(ifindex: u32) -> Result<Change, Error> {
    let mut message = TcMessage::default();
    message.header.index = index(ifindex)?;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    Ok(Change { message, flags: NLM_F_CREATE | NLM_F_EXCL })
}

/// The address of Weir's filter at a hook of a device.
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
