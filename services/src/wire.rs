//! The encoding of the maps' entries.

use std::net::IpAddr;

use common::{Address, Algorithm, Port, protocol};
use weir_ebpf_common as common;

use super::tables::{Backend, FrontendKey, FrontendPolicy, FrontendValue, Range, Scope};
use weir_model::Protocol;

/// The key of a frontend. Its address is given in the map's family.
pub fn encode_frontend_key<A: Address>(address: A, key: &FrontendKey) -> common::ServiceKey<A> {
    let scope = match key.scope {
        Scope::Internal => common::Scope::Internal,
        Scope::External => common::Scope::External,
    };
    match key.port {
        Some((port, transport)) => {
            common::ServiceKey::new(address, Port::new(port), protocol_number(transport), scope)
        }
        None => common::ServiceKey::unknown_port_guard(address, scope),
    }
}

/// The frontend of a key. None if this version does not know such keys: a later version may have
/// written it.
pub fn decode_frontend_key<A: Address + Into<IpAddr>>(
    key: &common::ServiceKey<A>,
) -> Option<FrontendKey> {
    let common::ServiceKey { address, port, protocol: transport, scope } = *key;
    let scope =
        [(common::Scope::Internal, Scope::Internal), (common::Scope::External, Scope::External)]
            .into_iter()
            .find_map(|(known, found)| (known as u8 == scope).then_some(found))?;
    let port = match (port, transport) {
        (Port::ANY, 0) => None,
        (port, transport) => {
            let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            Some((
                port.get(),
                known.into_iter().find(|known| protocol_number(*known) == transport)?,
            ))
        }
    };
    Some(FrontendKey { ip: address.into(), port, scope })
}

/// The protocol's number in IP headers.
pub const fn protocol_number(transport: Protocol) -> u8 {
    match transport {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
        Protocol::Sctp => protocol::SCTP,
    }
}

/// The entry of a frontend.
pub fn encode_frontend_value(value: &FrontendValue) -> common::Service {
    let FrontendValue { service, range, policy } = *value;
    // Without `..`: a new field must be encoded here.
    let FrontendPolicy { affinity, drop_if_empty, local_set, masquerade } = policy;
    let flags = [
        (drop_if_empty, common::Service::DROP_IF_EMPTY),
        (local_set, common::Service::LOCAL_SET),
        (masquerade, common::Service::MASQUERADE),
    ];
    common::Service {
        id: service,
        offset: range.offset,
        count: range.count,
        affinity,
        flags: set_of(flags),
        algorithm: Algorithm::Random as u16,
    }
}

/// Decodes the entry of a frontend. If it has flags that this version does not know, the result
/// belongs to no Service and differs from every desired entry, so it will be replaced.
pub fn decode_frontend_value(found: &common::Service) -> FrontendValue {
    let value = FrontendValue {
        service: found.id,
        range: Range { offset: found.offset, count: found.count },
        policy: decode_policy(found),
    };
    if encode_frontend_value(&value) == *found {
        value
    } else {
        let policy = FrontendPolicy { affinity: u32::MAX, ..value.policy };
        FrontendValue { service: 0, policy, ..value }
    }
}

/// The policy in the entry of a frontend, without what this version does not know.
pub fn decode_policy(found: &common::Service) -> FrontendPolicy {
    FrontendPolicy {
        affinity: found.affinity,
        drop_if_empty: found.has(common::Service::DROP_IF_EMPTY),
        local_set: found.has(common::Service::LOCAL_SET),
        masquerade: found.has(common::Service::MASQUERADE),
    }
}

/// The entry of a backend. Its address is given in the map's family.
pub fn encode_backend<A>(address: A, backend: &Backend) -> common::Backend<A> {
    let Backend { ip: _, port, serving, in_cluster_set, in_local_set } = *backend;
    let flags = [
        (serving, common::Backend::<A>::SERVING),
        (in_cluster_set, common::Backend::<A>::IN_CLUSTER_SET),
        (in_local_set, common::Backend::<A>::IN_LOCAL_SET),
    ];
    common::Backend { address, port: Port::new(port), flags: set_of(flags) }
}

/// Decodes the entry of a backend.
pub fn decode_backend<A: Copy + Into<IpAddr>>(found: &common::Backend<A>) -> Backend {
    let has = |flag: u16| found.flags & flag != 0;
    Backend {
        ip: found.address.into(),
        port: found.port.get(),
        serving: has(common::Backend::<A>::SERVING),
        in_cluster_set: has(common::Backend::<A>::IN_CLUSTER_SET),
        in_local_set: has(common::Backend::<A>::IN_LOCAL_SET),
    }
}

fn set_of<const N: usize>(flags: [(bool, u16); N]) -> u16 {
    flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |set, (_, flag)| set | flag)
}

#[cfg(test)]
mod tests {
    use common::{V4, V6};
    use proptest::prelude::*;

    use super::*;

    fn ports() -> impl Strategy<Value = Option<(u16, Protocol)>> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        proptest::option::of((1u16.., protocol))
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        prop_oneof![Just(Scope::Internal), Just(Scope::External)]
    }

    proptest! {
        #[test]
        fn decoding_an_encoded_key_gives_the_key_in_both_families(
            port in ports(), scope in scopes(), ip: [u8; 16],
        ) {
            let (four, six) = (V4::new([ip[0], ip[1], ip[2], ip[3]]), V6::new(ip));
            let key = FrontendKey { ip: four.into(), port, scope };
            prop_assert_eq!(decode_frontend_key(&encode_frontend_key(four, &key)), Some(key));
            let key = FrontendKey { ip: six.into(), port, scope };
            prop_assert_eq!(decode_frontend_key(&encode_frontend_key(six, &key)), Some(key));
        }

        #[test]
        fn decoding_an_encoded_value_gives_the_value(
            numbers: (u32, u32, u32, u32), flags: (bool, bool, bool), port: u16, ip: [u8; 4],
        ) {
            let (service_id, offset, count, affinity) = numbers;
            let policy = FrontendPolicy {
                affinity,
                drop_if_empty: flags.0,
                local_set: flags.1,
                masquerade: flags.2,
            };
            let range = Range { offset, count };
            let value = FrontendValue { service: service_id, range, policy };
            prop_assert_eq!(decode_frontend_value(&encode_frontend_value(&value)), value);
            let address = V4::new(ip);
            let backend = Backend {
                ip: address.into(),
                port,
                serving: flags.0,
                in_cluster_set: flags.1,
                in_local_set: flags.2,
            };
            prop_assert_eq!(decode_backend(&encode_backend(address, &backend)), backend);
        }
    }

    #[test]
    fn an_entry_with_unknown_flags_differs_from_every_desired_entry() {
        let value =
            decode_frontend_value(&common::Service { id: 7, flags: 1 << 15, ..Default::default() });
        let desired = FrontendValue { service: 7, policy: FrontendPolicy::default(), ..value };
        assert_ne!(encode_frontend_value(&value), encode_frontend_value(&desired));
        assert_eq!(value.service, 0);
        let key = common::ServiceKey { scope: 9, ..Default::default() };
        assert_eq!(decode_frontend_key::<V4>(&key), None);
    }
}
