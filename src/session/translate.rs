//! COM_CHANGE_USER where only one side of the session is secure: its dialogue, packet by packet.
//!
//! Sessions with two equal sides never come here: their dialogues pass as they are.

use crate::client_error::ClientError;
use crate::wire::dialogue::{Dialogue, Stuck, Turn};
use crate::wire::packet::{self, HEADER, Header};
use crate::wire::reply::Progress;

use super::Context;
use super::channel::LOGIN_MAX;
use super::commands::Step;
use super::exchange::{Exchange, Over};
use super::numbering::Mark;

/// The dialogue, and the numbers that both sides expect next: they differ once a packet was answered by the proxy.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) dialogue: Dialogue,
    client_next: u8,
    server_next: u8,
}

impl Translation {
    pub(super) fn new(dialogue: Dialogue) -> Self {
        Self { dialogue, client_next: 0, server_next: 0 }
    }

    /// A COM_CHANGE_USER goes by that proves the password with `plugin` first.
    pub(super) fn begin(&mut self, plugin: &str) {
        self.dialogue.restart(plugin);
        (self.client_next, self.server_next) = (1, 1);
    }
}

/// What a client is told when its password cannot be carried.
pub(super) fn told(stuck: Stuck, address: &str) -> ClientError {
    match stuck {
        Stuck::ForeignKey => ClientError::ForeignKey,
        Stuck::ServerKey => ClientError::UpstreamSecurity {
            address: address.to_owned(),
            reason: "its public key for passwords cannot be used; see caching_sha2_password_public_key_path there".into(),
        },
    }
}

fn ended(stuck: Stuck, context: &Context) -> Over {
    Over::Broken(told(stuck, &context.config.load().upstream.address))
}

impl Exchange {
    /// One packet of the client's.
    pub(super) fn translate_up(&mut self, header: Header) -> Result<Step, Over> {
        let end = HEADER + header.length;
        if header.length > LOGIN_MAX {
            return Err(Over::Broken(ClientError::TooLarge));
        }
        let Some(payload) = self.up.unjudged().get(HEADER..end) else {
            self.wanted = end;
            return Ok(Step::Waits);
        };
        self.wanted = 0;
        let Some(translation) = &mut self.translation else { return Ok(Step::Waits) };
        translation.client_next = header.sequence.wrapping_add(1);
        let turn = translation.dialogue.from_client(payload);
        let mut out = Vec::new();
        match turn.map_err(|stuck| ended(stuck, &self.context))? {
            Turn::Back(secret) => {
                self.down.mark(Mark::Begin(translation.client_next));
                translation.client_next = packet::push(&mut out, translation.client_next, &secret.0);
                self.up.discard(end);
                self.down.insert(&out);
            }
            turn => {
                let payload = if let Turn::Instead(secret) = &turn { &secret.0 } else { payload };
                let number = translation.server_next;
                translation.server_next = packet::push(&mut out, number, payload);
                self.up.discard(end);
                self.up.mark(Mark::Begin(number));
                self.up.insert(&out);
            }
        }
        Ok(Step::Taken)
    }

    /// One packet of the server's; `None` while it is not whole.
    pub(super) fn translate_down(&mut self) -> Result<Option<Progress>, Over> {
        let unjudged = self.down.unjudged();
        let Some(header) = Header::read(unjudged) else { return Ok(None) };
        let end = HEADER + header.length;
        let Some(bytes) = unjudged.get(..end) else {
            // What does not fit into the buffer never becomes whole.
            return if end > super::buffer::LARGE { Err(Over::Broken(ClientError::UpstreamLost)) } else { Ok(None) };
        };
        let Some(translation) = &mut self.translation else { return Ok(None) };
        let (_, progress) = self.tracker.feed(bytes).map_err(|_| Over::Broken(ClientError::UpstreamLost))?;
        translation.server_next = header.sequence.wrapping_add(1);
        let payload = bytes.get(HEADER..).unwrap_or_default();
        let turn = translation.dialogue.from_server(payload);
        let mut out = Vec::new();
        match turn.map_err(|stuck| ended(stuck, &self.context))? {
            Turn::Back(secret) => {
                self.up.mark(Mark::Begin(translation.server_next));
                translation.server_next = packet::push(&mut out, translation.server_next, &secret.0);
                self.down.discard(end);
                self.up.insert(&out);
            }
            _ => {
                let number = translation.client_next;
                translation.client_next = packet::push(&mut out, number, payload);
                self.down.discard(end);
                self.down.mark(Mark::Begin(number));
                self.down.insert(&out);
            }
        }
        Ok(Some(progress))
    }
}
