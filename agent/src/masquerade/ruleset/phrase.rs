//! The parts of a rule, named as in nft's own language.

use std::collections::HashSet;

use ipnetwork::IpNetwork;
use nftables::{
    expr::{
        BinaryOperation, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression,
        Payload, PayloadField, Prefix, SetItem,
    },
    stmt::{Counter, JumpTarget, Match, NAT, NATFlag, Operator, Reject, RejectType, Statement},
    types::RejectCode,
};

/// An operand: a name, an address, `"@set"` or a number.
pub(super) struct Operand(Expression<'static>);

impl From<u32> for Operand {
    fn from(number: u32) -> Self {
        Self(Expression::Number(number))
    }
}

impl From<String> for Operand {
    fn from(text: String) -> Self {
        Self(Expression::String(text.into()))
    }
}

/// `left operator right`.
pub(super) fn matches(
    left: Expression<'static>,
    op: Operator,
    right: impl Into<Operand>,
) -> Statement<'static> {
    Statement::Match(Match { left, op, right: right.into().0 })
}

/// `meta <key>`.
pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

/// `meta mark`.
pub(super) fn mark() -> Expression<'static> {
    meta(MetaKey::Mark)
}

/// `<expression> & <mask>`.
pub(super) fn and(expression: Expression<'static>, mask: u32) -> Expression<'static> {
    let operation = BinaryOperation::AND(expression, Expression::Number(mask));
    Expression::BinaryOperation(Box::new(operation))
}

/// `meta mark & <bits> == <bits>`.
pub(super) fn has_mark(bits: u32) -> Statement<'static> {
    matches(and(mark(), bits), Operator::EQ, bits)
}

/// `<protocol> <field>`, for example `ip saddr`.
pub(super) fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

/// `fib daddr type { local, broadcast, anycast, multicast }`: a socket of the node may take the packet.
pub(super) fn is_for_node() -> Statement<'static> {
    let flags = HashSet::from([FibFlag::Daddr]);
    let kind = Expression::Named(NamedExpression::Fib(Fib { result: FibResult::Type, flags }));
    let kinds = ["local", "broadcast", "anycast", "multicast"];
    let kinds = kinds.map(|kind| SetItem::Element(Expression::String(kind.into())));
    let right = Expression::Named(NamedExpression::Set(kinds.into()));
    Statement::Match(Match { left: kind, op: Operator::EQ, right })
}

/// A network, or an address if the prefix has full length.
pub(super) fn network(network: IpNetwork) -> Expression<'static> {
    let address = Expression::String(network.ip().to_string().into());
    let bits = if network.is_ipv4() { 32 } else { 128 };
    if network.prefix() == bits {
        return address;
    }
    let prefix = Prefix { addr: Box::new(address), len: network.prefix().into() };
    Expression::Named(NamedExpression::Prefix(prefix))
}

/// `counter`.
pub(super) fn counter() -> Statement<'static> {
    Statement::Counter(Counter::Anonymous(None))
}

/// `counter name <name>`.
pub(super) fn count(name: &'static str) -> Statement<'static> {
    Statement::Counter(Counter::Named(name.into()))
}

/// `masquerade fully-random`: flows that start at the same time do not compete for the same port.
pub(super) fn masquerade() -> Statement<'static> {
    let flags = Some(HashSet::from([NATFlag::FullyRandom]));
    Statement::Masquerade(Some(NAT { addr: None, family: None, port: None, flags }))
}

/// `reject with <kind> [<code>]`.
pub(super) fn reject(kind: RejectType, code: Option<RejectCode>) -> Statement<'static> {
    Statement::Reject(Some(Reject::new(Some(kind), code)))
}

/// `goto <chain>`.
pub(super) fn goto(chain: &'static str) -> Statement<'static> {
    Statement::Goto(JumpTarget { target: chain.into() })
}
