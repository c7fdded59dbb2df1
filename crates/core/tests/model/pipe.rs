//! The way from an instance to a client: short, and lost with what is in it when the connection is cut.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use fleetcast_core::hub::outlet::{ControlItem, Item, Offered, Outlet};
use fleetcast_core::hub::resume::Resumption;

use super::log::ModelPlace;

/// What travels to a client: lost when the connection is cut.
pub(crate) enum Sent {
    Interval {
        resumed: bool,
        cursor: Arc<str>,
    },
    Cursor(Arc<str>),
    Stale(Arc<str>),
    Record(ModelPlace, Arc<str>),
    Newest(ModelPlace, Arc<str>),
    /// The room of this number was joined (the how-manieth joining it was) or left when this was the newest item.
    Joined(usize, usize),
    Left(usize),
    /// The snapshot of this room was asked for when this was the newest item.
    Asked(usize, usize),
}

pub(crate) struct ModelPipe {
    pub(crate) capacity: usize,
    pub(crate) queue: VecDeque<Sent>,
    pub(crate) waiting: bool,
}

#[derive(Clone)]
pub(crate) struct TestOutlet(pub(crate) Rc<RefCell<ModelPipe>>);

impl Outlet for TestOutlet {
    type Shared = ();

    fn offer(&mut self, item: Item<'_>) -> Offered {
        let mut pipe = self.0.borrow_mut();
        if pipe.queue.len() >= pipe.capacity {
            pipe.waiting = true;
            return Offered::Full;
        }
        pipe.queue.push_back(match item {
            Item::Control(ControlItem::Welcome {
                resumption, cursor, ..
            }) => Sent::Interval {
                resumed: resumption == Resumption::Resumed,
                cursor: cursor.clone(),
            },
            Item::Control(ControlItem::Resync { cursor, .. }) => Sent::Interval {
                resumed: false,
                cursor: cursor.clone(),
            },
            Item::Control(ControlItem::Cursor { cursor }) => Sent::Cursor(cursor.clone()),
            Item::Control(
                ControlItem::Stale { cursor, .. }
                | ControlItem::Granted { cursor, .. }
                | ControlItem::Revoked { cursor, .. },
            ) => Sent::Stale(cursor.clone()),
            Item::Publication(delivery) => {
                let publication = delivery.publication();
                Sent::Record(
                    (publication.partition as usize, publication.offset),
                    delivery.cursor().clone(),
                )
            }
            Item::Ephemeral(_) | Item::Control(ControlItem::TokenExpiring) => {
                unreachable!("nothing of the model makes one")
            }
            Item::Snapshot {
                publication,
                cursor,
            } => Sent::Newest(
                (publication.partition as usize, publication.offset),
                cursor.clone(),
            ),
        });
        Offered::Taken
    }
}
