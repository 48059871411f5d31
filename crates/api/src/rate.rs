//! How often one may ask (API-2): each principal of a tenant, and each address of those who are nobody.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
};

use governor::{
    DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use logline_span::{Code, Reader};

use crate::{config::Rate, problem::Problem};

/// Keys whose recent requests are remembered, each some hundred bytes. What has been quiet for a moment is forgotten before that.
const KEYS_MAX: usize = 10_000;

/// Where more than that ask at once, those who come then share this many rates.
const CROWDS: u64 = 1024;

/// The rates of a process; none where they are off.
pub(crate) struct Rates(Option<Limits>);

struct Limits {
    readers: Limit<Reader>,
    addresses: Limit<IpAddr>,
}

struct Limit<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<Key<K>>,
    crowds: RandomState,
    clock: DefaultClock,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key<K> {
    One(K),
    Crowd(u64),
}

impl Rates {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self(rate.map(|rate| Limits {
            readers: Limit::new(rate),
            addresses: Limit::new(rate),
        }))
    }

    /// Counts a request of somebody.
    pub(crate) fn of_reader(&self, reader: &Reader) -> Result<(), Problem> {
        let counted = self.0.as_ref().map(|limits| limits.readers.count(reader));
        counted.unwrap_or(Ok(()))
    }

    /// Counts a request of nobody.
    pub(crate) fn of_address(&self, address: IpAddr) -> Result<(), Problem> {
        let limits = self.0.as_ref();
        let counted = limits.map(|limits| limits.addresses.count(&network(address)));
        counted.unwrap_or(Ok(()))
    }
}

/// What one person has: an IPv4 address, or the network of 2^64 addresses that IPv6 gives to each.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::keyed(quota),
            crowds: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    fn count(&self, key: &K) -> Result<(), Problem> {
        if self.limiter.len() >= KEYS_MAX {
            self.limiter.retain_recent();
        }
        let key = if self.limiter.len() >= KEYS_MAX {
            Key::Crowd(self.crowds.hash_one(key) % CROWDS)
        } else {
            Key::One(key.clone())
        };
        self.limiter
            .check_key(&key)
            .map_err(|until| self.problem(&until))
    }

    fn problem(&self, until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Problem {
        let wait = until.wait_time_from(self.clock.now());
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Problem::new(Code::RateLimited, "too many requests in too short a time")
            .retry_after(seconds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limit(burst: u32) -> Limit<u64> {
        let one = NonZeroU32::new(1).unwrap();
        Limit::new(Rate {
            per_second: one,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn each_key_has_a_burst_of_its_own() {
        let limit = limit(3);
        for key in [1, 2] {
            for _ in 0..3 {
                assert!(limit.count(&key).is_ok());
            }
            assert_eq!(limit.count(&key).unwrap_err().code(), Code::RateLimited);
        }
    }

    #[test]
    fn a_crowd_of_keys_takes_bounded_memory_and_is_still_counted() {
        let limit = limit(1);
        let most = KEYS_MAX as u64 + 10 * CROWDS;
        let passed = (0..most).filter(|key| limit.count(key).is_ok()).count();
        assert!(passed <= KEYS_MAX + 2 * CROWDS as usize, "{passed}");
        assert!(limit.limiter.len() <= KEYS_MAX + CROWDS as usize);
    }

    #[test]
    fn a_network_of_ipv6_is_one_asker() {
        let network = |text: &str| super::network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
