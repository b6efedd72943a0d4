//! What must never be, looked at whenever a kernel changes.

use weft_migration::State;

use crate::world::{Kernel, Ms, Set, WAITS, World};

impl World {
    /// A kernel changes: counts follow, and every pair that it is in must still work.
    pub fn set_kernel(&mut self, n: usize, kernel: Kernel) {
        self.count(n, false);
        let now = self.now;
        let sizes = self.sizes;
        let node = &mut self.nodes[n];
        let before = node.kernel.send.as_ref().map(|send| send.mode);
        let after = kernel.send.as_ref().map(|send| send.mode);
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            node.stopped[before as usize - 'A' as usize] = Some(now);
        }
        for (since, size) in node.fits_since.iter_mut().zip(sizes) {
            let fits = kernel.mtu != 0 && kernel.mtu <= size;
            *since = since.or(Some(now)).filter(|_| fits);
        }
        node.kernel = kernel;
        self.count(n, true);
        self.check(n);
    }

    fn count(&mut self, n: usize, there: bool) {
        let kernel = &self.nodes[n].kernel;
        let sent = kernel.send.as_ref().map_or(0, |send| send.modes());
        let one = |count: &mut usize, is: bool| {
            if is && there {
                *count += 1;
            } else if is {
                *count -= 1;
            }
        };
        one(&mut self.live, kernel.receive != 0);
        for mode in 0..3 {
            one(&mut self.accepting[mode], kernel.receive & 1 << mode != 0);
            one(&mut self.sending[mode], sent & 1 << mode != 0);
        }
    }

    /// What a node sends is accepted, and what is sent to it; it has a path to every peer, by devices that are there.
    fn check(&mut self, n: usize) {
        let node = &self.nodes[n];
        let Some(send) = &node.kernel.send else {
            return;
        };
        let used = send.modes();
        if used & !node.kernel.receive != 0 || self.sizes(used).any(|size| node.kernel.mtu > size) {
            self.breaks(format!(
                "{} has no path for what it sends",
                self.nodes[n].name
            ));
            return;
        }
        // Most often the counts tell: all accept what it sends, and it accepts what anybody sends.
        let all = |mode: usize| used & 1 << mode == 0 || self.accepting[mode] == self.live;
        let any = |mode: usize| self.sending[mode] == 0 || node.kernel.receive & 1 << mode != 0;
        if (0..3).all(all) && (0..3).all(any) {
            return;
        }
        for peer in 0..self.nodes.len() {
            for (from, to) in [(n, peer), (peer, n)] {
                if let Some(broken) = self.lost(from, to) {
                    self.breaks(broken);
                    return;
                }
            }
        }
    }

    fn sizes(&self, modes: Set) -> impl Iterator<Item = u32> {
        let sizes = self.sizes;
        (0..3)
            .filter(move |mode| modes & 1 << mode != 0)
            .map(move |mode| sizes[mode])
    }

    fn lost(&self, from: usize, to: usize) -> Option<String> {
        let (sender, peer) = (&self.nodes[from], &self.nodes[to]);
        // The only exception: Retire began or ended without one of them, because it was down.
        let excepted = sender.missed.is_some() || peer.missed.is_some();
        if from == to || excepted || peer.kernel.receive == 0 {
            return None;
        }
        let mode = sender.kernel.send.as_ref()?.to(&peer.name);
        (peer.kernel.receive & 1 << (mode as usize - 'A' as usize) == 0).then(|| {
            format!(
                "{} sends to {} in {mode}, which it doesn't accept",
                sender.name, peer.name
            )
        })
    }

    /// A node is about to accept these modes alone: in the others nothing is under way any more.
    pub fn nobody_sends(&mut self, n: usize, state: &State<char>, receive: Set) {
        let node = &self.nodes[n];
        let gone = node.kernel.receive & !receive;
        let left_out = state
            .migration
            .as_ref()
            .is_some_and(|migration| migration.excluded.contains(&node.name));
        if gone == 0 || node.missed.is_some() || left_out || self.jumped {
            return;
        }
        let drain = WAITS.drain.as_millis() as Ms;
        for sender in self.nodes.iter().filter(|sender| sender.missed.is_none()) {
            for mode in (0..3).filter(|mode| gone & 1 << mode != 0) {
                if let Some(stopped) =
                    sender.stopped[mode].filter(|stopped| self.now < stopped + drain)
                {
                    let (name, peer, after) = (&sender.name, &node.name, self.now - stopped);
                    let broken = format!(
                        "{name} stopped to send in mode {mode} only {after} ms before {peer} removed it"
                    );
                    self.breaks(broken);
                    return;
                }
            }
        }
    }

    /// A node is about to send in another mode: its pods have sent packets that fit into it for long enough.
    pub fn drained_for(&mut self, n: usize, kernel: &Kernel) {
        let node = &self.nodes[n];
        let (Some(before), Some(after)) = (&node.kernel.send, &kernel.send) else {
            return;
        };
        if before.mode == after.mode || node.sizes_late || node.missed.is_some() || self.jumped {
            return;
        }
        let drain = WAITS.drain.as_millis() as Ms;
        let since = node.fits_since[after.mode as usize - 'A' as usize];
        if since.is_none_or(|since| self.now < since + drain && since != 0) {
            let broken = format!(
                "{} sends in {} before its packets have fitted for long enough",
                node.name, after.mode
            );
            self.breaks(broken);
        }
    }

    pub fn breaks(&mut self, what: String) {
        self.tell(|| format!("BROKEN: {what}"));
        self.broken
            .get_or_insert(format!("at {} ms: {what}", self.now));
    }

    /// Nothing happens any more: it rests where the admin wants it, or where it was, and a failure says why.
    pub fn rests(&self) -> Result<(), String> {
        let state = &self.object.state;
        let wish = &self.object.wish;
        let failed = state
            .failure
            .as_ref()
            .is_some_and(|failure| failure.generation == wish.generation);
        if state.migration.is_some() || (state.mode != wish.mode && !failed) {
            return Err(format!(
                "{} is the end, and {} is wanted",
                Self::place(state),
                wish.mode
            ));
        }
        for (n, node) in self.nodes.iter().enumerate() {
            let todo = self.todo(n, state);
            let step = node.disk.as_ref().map(|disk| disk.state.step);
            let send = node
                .kernel
                .send
                .as_ref()
                .map(|send| (send.mode, send.left_out.len()));
            let same = node.kernel.receive == todo.kernel.receive
                && node.kernel.mtu == todo.kernel.mtu
                && send == Some((state.mode, 0));
            if step != Some(state.step) || !same || node.missed.is_some() {
                return Err(format!(
                    "{} is left at step {step:?}: {:?}",
                    node.name, node.kernel
                ));
            }
        }
        Ok(())
    }
}
