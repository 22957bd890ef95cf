//! Permission to copy the types of the maps from and to the kernel as bytes.

use aya::Pod;

use crate::{
    Affinity, AffinityKey, Backend, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Route, Service,
    ServiceKey, Settings, Socket, SocketKey, V4, V6,
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: it consists of integers and arrays of them only, and has no padding, which is
            // asserted where it is defined: any bytes are a value, and a value has no byte that is
            // not initialised.
            unsafe impl Pod for $type {}
        )+
    };
}

pod! {
    V4, V6,
    Affinity, Endpoint, Fragment, Service, Settings,
    AffinityKey<V4>, AffinityKey<V6>,
    Backend<V4>, Backend<V6>,
    Flow<V4>, Flow<V6>,
    FlowKey<V4>, FlowKey<V6>,
    FragmentKey<V4>, FragmentKey<V6>,
    Route<V4>, Route<V6>,
    ServiceKey<V4>, ServiceKey<V6>,
    Socket<V4>, Socket<V6>,
    SocketKey<V4>, SocketKey<V6>,
}
