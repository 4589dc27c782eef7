//! Moving octets between slices, with no way to panic and no panic to link.

/// Takes up to `most` octets off the front of `input`.
pub(crate) fn take<'b>(input: &mut &'b [u8], most: u64) -> &'b [u8] {
    let most = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    let (taken, rest) = input.split_at_checked(most).unwrap_or_default();
    *input = rest;
    taken
}

/// Copies as much as there is of `from` and room in `to`; returns how many octets that is.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> usize {
    // The compiler makes a memcpy of this, without the panic that copy_from_slice brings along.
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to.len().min(from.len())
}
