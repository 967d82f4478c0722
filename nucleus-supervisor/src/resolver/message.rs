//! The little of DNS messages that looking up addresses needs (RFC 1035, 3596).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Longest message over UDP for who does not say otherwise.
pub(super) const UDP_MOST: usize = 512;

/// An answer without error.
pub(super) const NO_ERROR: u8 = 0;
/// What was asked cannot be read.
pub(super) const FORMAT_ERROR: u8 = 1;
/// The server could not find out.
pub(super) const SERVER_FAILURE: u8 = 2;
/// There is no such name.
pub(super) const NO_SUCH_NAME: u8 = 3;

const HEADER: usize = 12;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// Most aliases from a name to its addresses.
const LONGEST_CHAIN: usize = 16;

/// A question, the only one of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) id: u16,
    /// In lower case, without the last dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// The question as it was asked: some clients compare the case.
    question: Vec<u8>,
    recursion_desired: bool,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    /// It did not fit into the message.
    pub(super) truncated: bool,
    pub(super) addresses: Vec<(IpAddr, Duration)>,
    /// The names that the one that was asked for leads through.
    pub(super) aliases: Vec<String>,
}

impl Query {
    /// Reads a query; `None` for what is none, or of more than one question,
    /// or of another class.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader { message, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        // A query of the standard kind.
        if flags & 0xf800 != 0 || reader.u16()? != 1 {
            return None;
        }
        reader.at = HEADER;
        let name = reader.name()?;
        let kind = reader.u16()?;
        let class = reader.u16()?;
        (class == INTERNET).then(|| Self {
            id,
            name,
            kind,
            question: message[HEADER..reader.at].to_vec(),
            recursion_desired: flags & 0x0100 != 0,
        })
    }

    /// Whether addresses are asked for; nothing else is looked up.
    pub(super) const fn asks_for_addresses(&self) -> bool {
        matches!(self.kind, A | AAAA)
    }

    /// The query as it is passed on.
    pub(super) fn to_bytes(&self, id: u16) -> Vec<u8> {
        header(id, 0x0100, 1, 0)
            .into_iter()
            .chain(self.question.iter().copied())
            .collect()
    }

    /// An answer with as many of these addresses as fit; and how many do.
    pub(super) fn answer(
        &self,
        code: u8,
        addresses: &[(IpAddr, Duration)],
        most: usize,
    ) -> (Vec<u8>, usize) {
        let mut records = Vec::new();
        let mut count = 0;
        for (address, ttl) in addresses {
            let (kind, data) = match address {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
            let fits = HEADER + self.question.len() + records.len() + 12 + data.len() <= most;
            if kind != self.kind || !fits || count == u16::MAX {
                continue;
            }
            // The name is the question's, by a pointer.
            records.extend(0xc00c_u16.to_be_bytes());
            records.extend(kind.to_be_bytes());
            records.extend(INTERNET.to_be_bytes());
            let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            records.extend(ttl.to_be_bytes());
            records.extend(length.to_be_bytes());
            records.extend(data);
            count += 1;
        }
        // A response; recursion is available.
        let mut flags = 0x8080 | u16::from(code & 0xf);
        if self.recursion_desired {
            flags |= 0x0100;
        }
        let mut message = header(self.id, flags, 1, count);
        message.extend(&self.question);
        message.extend(records);
        (message, count.into())
    }
}

/// An answer to a query that cannot be read, if its id can.
pub(super) fn format_error(message: &[u8]) -> Option<Vec<u8>> {
    let (id, rest) = message.split_first_chunk()?;
    // Never to a response: two servers would answer each other for ever.
    let is_query = rest.first()? & 0x80 == 0;
    let flags = 0x8080 | u16::from(FORMAT_ERROR);
    is_query.then(|| header(u16::from_be_bytes(*id), flags, 0, 0))
}

fn header(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    [id, flags, questions, answers, 0, 0]
        .into_iter()
        .flat_map(u16::to_be_bytes)
        .collect()
}

impl Answer {
    /// Reads the answer to a query that was passed on as `id`; `None` for what
    /// is not its answer.
    pub(super) fn parse(message: &[u8], query: &Query, id: u16) -> Option<Self> {
        let mut reader = Reader { message, at: 0 };
        if reader.u16()? != id {
            return None;
        }
        let flags = reader.u16()?;
        if flags & 0xf800 != 0x8000 || reader.u16()? != 1 {
            return None;
        }
        let count = reader.u16()?;
        reader.at = HEADER;
        if reader.name()? != query.name || reader.u16()? != query.kind {
            return None;
        }
        if reader.u16()? != INTERNET {
            return None;
        }
        let records = reader.records(count)?;
        let (addresses, aliases) = addresses(&records, &query.name);
        Some(Self {
            code: u8::try_from(flags & 0xf).unwrap_or(SERVER_FAILURE),
            truncated: flags & 0x0200 != 0,
            addresses,
            aliases,
        })
    }
}

/// A record of an answer, of the kinds that matter.
#[derive(Debug)]
struct Record {
    owner: String,
    ttl: Duration,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Address(IpAddr),
    Alias(String),
}

/// The addresses of a name, through its aliases, for the shortest time of all;
/// and the aliases.
fn addresses(records: &[Record], name: &str) -> (Vec<(IpAddr, Duration)>, Vec<String>) {
    let mut name = name;
    let mut aliases = Vec::new();
    let mut shortest = Duration::MAX;
    for _ in 0..LONGEST_CHAIN {
        let alias = records.iter().find_map(|record| match &record.data {
            Data::Alias(target) if record.owner == name => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, ttl)) = alias else {
            break;
        };
        name = target;
        aliases.push(target.clone());
        shortest = shortest.min(ttl);
    }
    let addresses = records
        .iter()
        .filter(|record| record.owner == name)
        .filter_map(|record| match record.data {
            Data::Address(address) => Some((address, record.ttl.min(shortest))),
            Data::Alias(_) => None,
        });
    (addresses.collect(), aliases)
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.message.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// A name, in lower case. A pointer leads only backwards, so it ends.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.message.get(at + 1..=at + usize::from(length))?;
                    // What is no host name could be taken for another one.
                    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
                    if !label.iter().all(plain) || name.len() > 253 {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(
                        label
                            .iter()
                            .map(|byte| char::from(byte.to_ascii_lowercase())),
                    );
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    end.get_or_insert(at + 2);
                    if to >= at {
                        return None;
                    }
                    at = to;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(name)
    }

    fn records(&mut self, count: u16) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        for _ in 0..count {
            let owner = self.name()?;
            let kind = self.u16()?;
            let class = self.u16()?;
            let ttl = Duration::from_secs(self.u32()?.into());
            let length = usize::from(self.u16()?);
            let end = self.at + length;
            let data = match (class, kind, length) {
                (INTERNET, A, 4) => Some(Data::Address(Ipv4Addr::from(self.bytes()?).into())),
                (INTERNET, AAAA, 16) => {
                    Some(Data::Address(Ipv6Addr::from(self.bytes::<16>()?).into()))
                }
                (INTERNET, CNAME, _) => Some(Data::Alias(self.name()?)),
                _ => None,
            };
            if end > self.message.len() {
                return None;
            }
            self.at = end;
            records.extend(data.map(|data| Record { owner, ttl, data }));
        }
        Some(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = header(7, 0x0100, 1, 0);
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).expect("a label"));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        bytes
    }

    #[test]
    fn a_question_and_its_answer() {
        let query = Query::parse(&question("A.Example.org", A)).expect("a query");
        assert_eq!((query.name.as_str(), query.id), ("a.example.org", 7));
        let given = [(IpAddr::from([192, 0, 2, 1]), Duration::from_secs(30))];
        let (bytes, count) = query.answer(NO_ERROR, &given, UDP_MOST);
        assert_eq!(count, 1);
        let answer = Answer::parse(&bytes, &query, 7).expect("an answer");
        assert_eq!(answer.addresses, given);
        assert_eq!(Answer::parse(&bytes, &query, 8), None);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let query = Query::parse(&question("a.example", A)).expect("a query");
        let many = vec![(IpAddr::from([192, 0, 2, 1]), Duration::ZERO); 100];
        let (bytes, count) = query.answer(NO_ERROR, &many, UDP_MOST);
        assert!(bytes.len() <= UDP_MOST && count == 30, "{count}");
    }

    #[test]
    fn addresses_are_found_through_aliases() {
        let mut bytes = question("a.example", A);
        bytes[2..8].copy_from_slice(&[0x80, 0, 0, 1, 0, 2]);
        // a.example CNAME b.example (label b, pointer to "example"), 9 s.
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'b', 0xc0, 14]);
        let b = u8::try_from(bytes.len() - 4).expect("small");
        bytes.extend([0xc0, b, 0, 1, 0, 1, 0, 0, 0, 99, 0, 4, 192, 0, 2, 9]);
        let query = Query::parse(&question("a.example", A)).expect("a query");
        let answer = Answer::parse(&bytes, &query, 7).expect("an answer");
        let expected = (IpAddr::from([192, 0, 2, 9]), Duration::from_secs(9));
        assert_eq!(answer.addresses, [expected]);
    }

    #[test]
    fn a_pointer_to_itself_ends() {
        let mut bytes = header(1, 0, 1, 0);
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(Query::parse(&bytes), None);
        assert_eq!(Query::parse(&question("a b.example", A)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let query = Query::parse(&question("a.example", A)).expect("a query");
            let _ends: Option<Query> = Query::parse(&bytes);
            let mut message = question("a.example", A);
            message[2..8].copy_from_slice(&[0x80, 0, 0, 1, 0, 9]);
            message.extend(bytes);
            let _ends: Option<Answer> = Answer::parse(&message, &query, 7);
        }
    }
}
