package tokens

const (
	// shortPiece is up to how many bytes a piece is merged by looking at all of it again for each pair, which is quick for
	// the pieces that texts have.
	shortPiece = 96
	// longPiece is how much of a piece is merged at once, in bytes. What no text has is counted in parts, a token too many
	// for each at most, so that memory is bounded.
	longPiece = 16 << 10
)

// count is how many tokens a piece has. Nothing has none.
func (v *vocabulary) count(piece []byte, c *Counter) int {
	switch n := len(piece); {
	case n < 2:
		return n
	case n == 2:
		if v.pair(piece[0], piece[1]) != none {
			return 1
		}
		return 2
	}
	if v.rank(piece) != none {
		return 1
	}
	if len(piece) <= shortPiece {
		return v.mergeShort(piece)
	}
	m := c.merges.Get().(*merge)
	n := 0
	for len(piece) > longPiece {
		n += m.count(v, piece[:longPiece])
		piece = piece[longPiece:]
	}
	n += m.count(v, piece)
	c.merges.Put(m)
	return n
}

// mergeShort merges the pair of the lowest rank, the first of equals, until no pair is a token, and counts what is left.
func (v *vocabulary) mergeShort(piece []byte) int {
	var starts [shortPiece + 2]uint8 // of the parts, and where the last one ends
	var ranks [shortPiece + 1]uint32 // of each part together with the next
	n := len(piece)                  // parts
	best, at := uint32(none), 0      // the lowest rank, and whose it is
	for i := range n - 1 {
		starts[i] = uint8(i)
		ranks[i] = v.pair(piece[i], piece[i+1])
		if ranks[i] < best {
			best, at = ranks[i], i
		}
	}
	starts[n-1], starts[n], ranks[n-1] = uint8(n-1), uint8(n), none
	with := func(i, parts int) uint32 { // the rank of part i with the next
		if i+2 > parts {
			return none
		}
		return v.rank(piece[starts[i]:starts[i+2]])
	}
	for best != none {
		copy(starts[at+1:n], starts[at+2:n+1])
		copy(ranks[at:n-1], ranks[at+1:n])
		n--
		ranks[at] = with(at, n)
		if at > 0 {
			ranks[at-1] = with(at-1, n)
		}
		best = none
		for i, r := range ranks[:n] {
			if r < best {
				best, at = r, i
			}
		}
	}
	return n
}

// merge is the memory for merging a long piece in n log n steps.
type merge struct {
	next, before []uint32 // where the part after, and the one before, the part that begins here begins
	ranks        []uint32 // of the part that begins here together with the next; none if none begins here
	heap         []uint64 // ranks and where they were found, the lowest first; some are out of date
}

// count does what mergeShort does, with the pairs in a heap.
func (m *merge) count(v *vocabulary, piece []byte) int {
	n := len(piece)
	if cap(m.next) < n {
		m.next, m.before, m.ranks = make([]uint32, longPiece), make([]uint32, longPiece), make([]uint32, longPiece)
	}
	next, before, ranks := m.next[:n], m.before[:n], m.ranks[:n]
	m.heap = m.heap[:0]
	for i := range n {
		next[i], before[i], ranks[i] = uint32(i+1), uint32(i-1), none
		if i+1 < n {
			ranks[i] = v.pair(piece[i], piece[i+1])
		}
		if ranks[i] != none {
			m.heap = append(m.heap, uint64(ranks[i])<<32|uint64(i))
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	renew := func(i uint32) { // the rank of the part that begins at i together with the next
		ranks[i] = none
		second := next[i]
		if int(second) == n {
			return
		}
		if ranks[i] = v.rank(piece[i:next[second]]); ranks[i] != none {
			m.push(uint64(ranks[i])<<32 | uint64(i))
		}
	}
	parts := n
	for len(m.heap) > 0 {
		top := m.pop()
		i := uint32(top)
		if ranks[i] != uint32(top>>32) {
			continue
		}
		second := next[i]
		ranks[second] = none
		next[i] = next[second]
		if int(next[i]) < n {
			before[next[i]] = i
		}
		parts--
		renew(i)
		if i > 0 {
			renew(before[i])
		}
	}
	return parts
}

func (m *merge) push(x uint64) {
	m.heap = append(m.heap, x)
	h := m.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent] <= h[i] {
			return
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

func (m *merge) pop() uint64 {
	h := m.heap
	top := h[0]
	h[0] = h[len(h)-1]
	m.heap = h[:len(h)-1]
	m.down(0)
	return top
}

func (m *merge) down(i int) {
	h := m.heap
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
