// SPDX-License-Identifier: GPL-2.0

//! Requester IDs of a snapshot and the sets they form: a union-find over caller-given nodes.

use super::{Error, Function, Reason, Rule};
use crate::{
    id::{Rid, Sbdf},
    sort::sort_by_key,
};

/// One requester ID; [`Node::EMPTY`] makes scratch.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    id: Sbdf,
    /// Index of the function that has this ID, if any.
    function: Option<usize>,
    /// Index of a node of the same set, itself in the root.
    up: usize,
}

impl Node {
    /// A node to fill a scratch slice with.
    pub const EMPTY: Self = Self {
        id: Sbdf {
            segment: 0,
            rid: Rid(0),
        },
        function: None,
        up: 0,
    };

    /// Sort key: a function goes before the mere mention of its ID.
    fn key(&self) -> (Sbdf, bool) {
        (self.id, self.function.is_none())
    }
}

/// The sets while they grow.
///
/// # Invariants
///
/// - `nodes` is sorted by ID, each ID once.
/// - `up` is never above a node's own index, so the root of a set is its lowest ID.
pub(super) struct Nodes<'n> {
    nodes: &'n mut [Node],
}

impl<'n> Nodes<'n> {
    /// Fills `scratch` with every ID of the snapshot, each in a set of its own.
    pub(super) fn collect(
        functions: &[Function<'_>],
        scratch: &'n mut [Node],
    ) -> Result<Self, Error> {
        let mut len = 0usize;
        let mut push = |id: Sbdf, function: Option<usize>| {
            if let Some(slot) = scratch.get_mut(len) {
                *slot = Node {
                    id,
                    function,
                    up: 0,
                };
                len = len.saturating_add(1);
            }
        };
        for (index, f) in functions.iter().enumerate() {
            push(f.id, Some(index));
            for rid in f.aliases.iter().chain(f.firmware_alias.iter()) {
                push(f.in_segment(*rid), None);
            }
            for id in [f.real_dma, f.alias_below()].into_iter().flatten() {
                push(id, None);
            }
            for id in f.phantoms().filter(|id| *id != f.id) {
                push(id, None);
            }
        }
        let nodes = scratch.get_mut(..len).unwrap_or(&mut []);
        sort_by_key(nodes, Node::key);
        // Keep the first node of each ID: the function, where there is one.
        let mut kept = 0usize;
        for at in 0..nodes.len() {
            let Some(mut node) = nodes.get(at).copied() else {
                break;
            };
            let before = kept.checked_sub(1).and_then(|i| nodes.get(i));
            match before {
                Some(before) if before.id == node.id => {
                    if node.function.is_some() {
                        return Err(Error::Duplicate { id: node.id });
                    }
                }
                _ => {
                    node.up = kept;
                    if let Some(slot) = nodes.get_mut(kept) {
                        *slot = node;
                    }
                    kept = kept.saturating_add(1);
                }
            }
        }
        // INVARIANT: sorted and made unique above; each node is its own root.
        Ok(Self {
            nodes: nodes.get_mut(..kept).unwrap_or(&mut []),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The function of node `at`, [`None`] if the ID has no device.
    pub(super) fn function<'f, 'a>(
        &self,
        at: usize,
        functions: &'f [Function<'a>],
    ) -> Option<&'f Function<'a>> {
        functions.get(self.nodes.get(at)?.function?)
    }

    /// The root of a node's set. Ends, because `up` only falls.
    fn root(&mut self, mut at: usize) -> usize {
        while let Some(up) = self.nodes.get(at).map(|n| n.up) {
            if up >= at {
                break;
            }
            // Halve the path for the next caller.
            let over = self.nodes.get(up).map_or(up, |n| n.up);
            if let Some(node) = self.nodes.get_mut(at) {
                // INVARIANT: `over <= up < at`.
                node.up = over;
            }
            at = over;
        }
        at
    }

    /// Joins the sets of two IDs, and tells `why` if they were apart.
    pub(super) fn join(&mut self, a: Sbdf, b: Sbdf, rule: Rule, why: &mut impl FnMut(Reason)) {
        let (Some(at_a), Some(at_b)) = (find(self.nodes, a), find(self.nodes, b)) else {
            return;
        };
        let (root_a, root_b) = (self.root(at_a), self.root(at_b));
        if root_a == root_b {
            return;
        }
        if let Some(node) = self.nodes.get_mut(root_a.max(root_b)) {
            // INVARIANT: the higher root points at the lower.
            node.up = root_a.min(root_b);
        }
        why(Reason { a, b, rule });
    }

    /// Points every node straight at its root.
    pub(super) fn finish(mut self) -> Partition<'n> {
        for at in 0..self.nodes.len() {
            let root = self.root(at);
            if let Some(node) = self.nodes.get_mut(at) {
                // INVARIANT: the root of a set is its lowest index.
                node.up = root;
            }
        }
        Partition { nodes: self.nodes }
    }
}

fn find(nodes: &[Node], id: Sbdf) -> Option<usize> {
    nodes.binary_search_by_key(&id, |n| n.id).ok()
}

/// A requester ID and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The requester ID.
    pub id: Sbdf,
    /// The lowest requester ID of its group: the name of the group.
    pub group: Sbdf,
    /// Index of its function in the snapshot, [`None`] if no device has this ID.
    pub function: Option<usize>,
}

/// The groups of a snapshot.
#[derive(Debug)]
pub struct Partition<'n> {
    /// Sorted by ID, each ID once; `up` is the root.
    nodes: &'n [Node],
}

impl<'n> Partition<'n> {
    /// Every requester ID, with and without a device, in ascending order.
    pub fn members(&self) -> impl Iterator<Item = Member> + use<'n> {
        let nodes = self.nodes;
        nodes.iter().map(move |node| Member {
            id: node.id,
            group: nodes.get(node.up).map_or(node.id, |root| root.id),
            function: node.function,
        })
    }

    /// The group of a requester ID: the lowest one in it. [`None`] if the snapshot has no such ID.
    pub fn group_of(&self, id: Sbdf) -> Option<Sbdf> {
        let node = self.nodes.get(find(self.nodes, id)?)?;
        Some(self.nodes.get(node.up)?.id)
    }
}
