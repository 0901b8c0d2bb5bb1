//! The numbers of packets and frames, where a side of the session is compressed.
//!
//! Each command begins at 0, and what follows counts on. A server that packs restarts its packets' numbers at the number of the
//! frame with every flush, and clients that pack expect that; those that do not pack expect a plain count. So the proxy numbers
//! the packets anew on their way out, from marks that are put where commands, replies and results begin.

use std::collections::VecDeque;

use crate::net::Stream;
use crate::wire::packet::{HEADER, Header};

/// What begins at a place of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A command, a reply, or a turn in it: its first packet and its first frame have this number.
    Begin(u8),
    /// A further result of a reply: its first packet has the number of its frame, where there are frames.
    Flush,
    /// What nobody asked for: its packet has this number, and its frame follows.
    Unasked(u8),
}

/// Numbers one direction's packets.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    marks: VecDeque<(u64, Mark)>,
    /// Bytes that were in front of the buffer's first one.
    pub(super) before: u64,
    /// Up to here packets are numbered.
    numbered: u64,
    next: u8,
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
}

impl Numbering {
    /// Marks the place behind so many bytes of the buffer.
    pub(super) fn mark(&mut self, index: usize, mark: Mark) {
        self.marks.push_back((self.before + index as u64, mark));
    }

    /// Numbers what may go out as one piece: from `start`, before which all has gone out, to `ready` or the next mark. Gives
    /// the end of it.
    pub(super) fn piece(&mut self, data: &mut [u8], start: usize, ready: usize, stream: &mut Stream) -> usize {
        let here = self.before + start as u64;
        while let Some((place, mark)) = self.marks.front().copied()
            && place <= here
        {
            self.marks.pop_front();
            match mark {
                Mark::Begin(number) => {
                    stream.begin_frame(number);
                    self.next = number;
                }
                Mark::Flush => self.next = stream.next_frame().unwrap_or(self.next),
                Mark::Unasked(number) => self.next = number,
            }
        }
        let index = |place: u64| usize::try_from(place - self.before).unwrap_or(ready);
        let end = self.marks.front().map_or(ready, |(place, _)| index(*place).min(ready));
        let from = index(self.numbered.max(here));
        self.numbered = self.before + end as u64;
        self.number(data.get_mut(from..end).unwrap_or_default());
        end
    }

    /// Writes the numbers into the headers of packets that are cut anywhere.
    fn number(&mut self, mut bytes: &mut [u8]) {
        while let Some((first, rest)) = bytes.split_first_mut() {
            if self.left > 0 {
                let passed = self.left.min(rest.len() + 1);
                self.left -= passed;
                bytes = rest.get_mut(passed - 1..).unwrap_or_default();
                continue;
            }
            if self.have == HEADER - 1 {
                *first = self.next;
                self.next = self.next.wrapping_add(1);
            }
            self.header[self.have] = *first;
            self.have += 1;
            if self.have == HEADER {
                self.have = 0;
                self.left = Header::read(&self.header).map_or(0, |header| header.length);
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(numbers: &[u8]) -> Vec<u8> {
        numbers.iter().flat_map(|number| [3, 0, 0, *number, b'a', b'b', b'c']).collect()
    }

    fn numbered(mut data: Vec<u8>, marks: &[(usize, Mark)], pieces: usize) -> Vec<u8> {
        let mut numbering = Numbering::default();
        for (index, mark) in marks {
            numbering.mark(*index, *mark);
        }
        let (mut start, mut ready) = (0, 0);
        while start < data.len() {
            ready = (ready + pieces).min(data.len());
            start = numbering.piece(&mut data, start, ready, &mut Stream::Gone);
        }
        data
    }

    #[test]
    fn packets_are_counted_from_the_marks_however_they_are_cut() {
        let marks = [(0, Mark::Begin(1)), (21, Mark::Begin(254)), (35, Mark::Flush), (49, Mark::Unasked(0))];
        let wanted = packets(&[1, 2, 3, 254, 255, 0, 1, 0]);
        for pieces in 1..70 {
            assert_eq!(numbered(packets(&[1, 2, 3, 9, 9, 2, 3, 7]), &marks, pieces), wanted, "pieces of {pieces}");
        }
    }

    #[test]
    fn empty_and_long_packets_are_counted() {
        let long = [&[0, 1, 0, 77][..], &[0; 256], &[0, 0, 0, 78]].concat();
        let wanted = [&[0, 1, 0, 5][..], &[0; 256], &[0, 0, 0, 6]].concat();
        for pieces in [1, 5, 100, 1000] {
            assert_eq!(numbered(long.clone(), &[(0, Mark::Begin(5))], pieces), wanted);
        }
    }
}
