//! Permission to copy the types of the maps from and to the kernel as bytes.

use aya::Pod;

use crate::{
    Address, Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment,
    FragmentKey, Route, Service, ServiceKey, Socket, SocketKey, V4, V6,
};

macro_rules! pod {
    ($($type:ident $(<$address:ident>)?),+ $(,)?) => {
        $(
            // SAFETY: it consists of integers and arrays of them only, and has no padding, which is
            // asserted where it is defined, for both families: any bytes are a value, and a value
            // has no byte that is not initialised.
            unsafe impl$(<$address: Address>)? Pod for $type$(<$address>)? {}
        )+
    };
}

pod! {
    V4, V6, Affinity, Endpoint, Fragment, Service, Config,
    AffinityKey<A>, Backend<A>, Flow<A>, FlowKey<A>, FragmentKey<A>, Route<A>, ServiceKey<A>,
    Socket<A>, SocketKey<A>,
}
