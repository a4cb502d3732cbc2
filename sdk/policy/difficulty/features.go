package difficulty

import "math"

// Slots is how many weights there are: [Words] that the words share by their hash, one of the length, and one of each task.
const (
	Slots = Words + 16
	Words = 1 << 14

	slotLength = Words
	slotTask   = Words + 1
)

// MaxRead is how many bytes of a text are read: the first [headRead] and the last. What is asked stands at the beginning or
// at the end, and a bounded read makes a bounded decision.
const (
	MaxRead  = 1024
	headRead = 768
)

// Reader reads texts, one at a time, and knows probabilities by heart: an exponential for each candidate took a guest half
// of its decision.
type Reader struct {
	fold    [256]uint8             // what a byte counts as in a word, 0 between words
	hashes  [MaxRead]uint32        // of words
	slots   [MaxRead]uint16        // two a word, and a word takes two bytes at least
	chances [oddsSteps + 2]float64 // of log-odds from -maxOdds to maxOdds
}

// The probabilities that a reader knows: beyond log-odds of 16 they are within a millionth of 0 and 1.
const (
	maxOdds   = 16
	oddsSteps = 2 * maxOdds * 32
)

// NewReader returns a reader. A word is letters in either case, digits as if each were 0, and bytes beyond ASCII.
func NewReader() *Reader {
	r := new(Reader)
	for i := range r.fold {
		switch c := uint8(i); {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			r.fold[i] = c | 0x20
		case c >= '0' && c <= '9':
			r.fold[i] = '0'
		case c >= 0x80:
			r.fold[i] = c
		}
	}
	for i := range r.chances {
		r.chances[i] = Chance(float64(i)*2*maxOdds/oddsSteps - maxOdds)
	}
	return r
}

// Chance is the probability that log-odds stand for, within 0.00002.
func (r *Reader) Chance(odds float64) float64 {
	at := (odds + maxOdds) * (oddsSteps / (2 * maxOdds))
	if !(at >= 0) {
		return r.chances[0]
	}
	if at >= oddsSteps {
		return r.chances[oddsSteps]
	}
	i := uint32(at)
	low, high := r.chances[i], r.chances[i+1]
	return low + float64((at-float64(i))*(high-low))
}

// Feature is one thing that is known of a text.
type Feature struct {
	Slot  uint16
	Value float64
}

// Features are what [Model.Rate] sums up, each slot once.
func Features(text []byte, task uint8) []Feature {
	words := NewReader().words(text)
	at := map[uint16]int{}
	all := []Feature{{slotLength, length(text)}, {TaskSlot(task), 1}}
	for _, s := range words {
		i, known := at[s]
		if !known {
			i = len(all)
			at[s] = i
			all = append(all, Feature{Slot: s})
		}
		all[i].Value += share(len(words))
	}
	return all
}

// length is the feature of a text's length, 0 for the empty one.
func length(text []byte) float64 { return math.Log2(1 + float64(len(text))/200) }

// share is what one of n words counts: a text's words weigh less the more there are, by the square root as a sum of
// independent ones would.
func share(n int) float64 { return 1 / math.Sqrt(float64(max(n, 1))) }

// TaskSlot is the slot of an abi.Task* code.
func TaskSlot(task uint8) uint16 { return slotTask + uint16(min(task, Slots-slotTask-1)) }

// WordSlot is the slot of one word, which has a letter or a digit at least.
func WordSlot(word string) uint16 { return NewReader().words([]byte(word))[0] }

// FNV-1a of 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/
const (
	fnvOffset = 2166136261
	fnvPrime  = 16777619
)

// words are the slots of the words of what is read of a text, each followed by that of itself with the word before it. They
// are valid until the next call.
func (r *Reader) words(text []byte) []uint16 {
	var p place
	if len(text) <= MaxRead {
		p.read(r, text)
	} else {
		p.read(r, text[:headRead])
		p.end(r)
		p.read(r, text[len(text)-(MaxRead-headRead):])
	}
	p.end(r)
	slots, before := r.slots[:2*p.n], uint32(0)
	for i := 0; i < len(slots)/2; i++ {
		h := r.hashes[i%MaxRead]
		slots[2*i] = slotOf(h)
		slots[2*i+1] = slotOf((before<<5 | before>>27) ^ h*fnvPrime)
		before = h
	}
	return slots
}

// place is how far a text is read: so many words, and the hash so far of one that has begun, so changed that it begins as 0.
type place struct{ n, hash, inside uint32 }

// read goes on by eight bytes at a time, without any other branch: one that is taken costs a guest compiled from Go as much
// as ten lines. So a hash is written with every byte, and stays where a word ends.
func (p *place) read(r *Reader, text []byte) {
	at := *p
	for ; len(text) >= 8; text = text[8:] {
		b := (*[8]byte)(text)
		at = at.step(r, b[0])
		at = at.step(r, b[1])
		at = at.step(r, b[2])
		at = at.step(r, b[3])
		at = at.step(r, b[4])
		at = at.step(r, b[5])
		at = at.step(r, b[6])
		at = at.step(r, b[7])
	}
	for _, c := range text {
		at = at.step(r, c)
	}
	*p = at
}

func (p place) step(r *Reader, c byte) place {
	f := uint32(r.fold[c])
	is := -f >> 31 // 1 for a part of a word
	r.hashes[p.n%MaxRead] = p.hash
	return place{p.n + p.inside&^is, ((p.hash^fnvOffset^f)*fnvPrime ^ fnvOffset) & -is, is}
}

// end ends the word that has begun.
func (p *place) end(r *Reader) { *p = p.step(r, ' ') }

// slotOf folds a hash, since its low bits alone know little of the word's beginning.
func slotOf(h uint32) uint16 { return uint16((h ^ h>>15) % Words) }
