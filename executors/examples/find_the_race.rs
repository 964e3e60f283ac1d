//! A mistake that shows in one order of many: found by trying seeds, reduced to what matters, and had again.
//!
//! Run it: `cargo run -p untether-executors --example find_the_race`. It prints the report.
//!
//! A cache asks a slow store for what it does not have. If two tasks ask for the same at once, both find nothing and
//! both go to the store. That is a waste, and a mistake if, as here, the store gives out something that must exist once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Sim, sim};

#[derive(Default)]
struct Cache {
    tickets: RefCell<BTreeMap<&'static str, u32>>,
    given_out: RefCell<u32>,
}

impl Cache {
    async fn ticket(&self, name: &'static str) -> u32 {
        if let Some(ticket) = self.tickets.borrow().get(name) {
            return *ticket;
        }
        let ticket = self.ask_the_store().await;
        // The mistake: whoever else looked meanwhile has asked the store as well.
        self.tickets.borrow_mut().insert(name, ticket);
        ticket
    }

    async fn ask_the_store(&self) -> u32 {
        // In a simulation it takes no time, but others may run meanwhile.
        Timer::after(Duration::from_millis(20)).await;
        *self.given_out.borrow_mut() += 1;
        *self.given_out.borrow()
    }
}

/// Two customers; the second comes when the first should have been served.
async fn two_customers() {
    let cache = Rc::new(Cache::default());
    let customers = ["Ada", "Bob"].map(|name| {
        let cache = cache.clone();
        sim::handle().spawn_named(name, async move {
            if name == "Bob" {
                Timer::after(Duration::from_millis(20)).await;
            }
            cache.ticket("seat 1").await
        })
    });
    let [ada, bob] = customers;
    assert_eq!(ada.await, bob.await, "the seat was sold twice");
}

/// A test runs it as well.
pub(crate) fn main() {
    // In a test it would be `sim::check(0..1000, two_customers)`, which panics with the report.
    let failure = sim::explore(0..1000, two_customers).expect_err("there is a race to be found");
    println!("{failure}");

    // What it says can be had again, as often as it takes to understand it, with a debugger or more output.
    let again = Sim::replay(failure.schedule());
    let sold_twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        again.run(two_customers());
    }));
    assert!(sold_twice.is_err());
    assert_eq!(again.trace(), *failure.trace());
}
