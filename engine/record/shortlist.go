package record

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Shortlists picks, from the candidates of a large catalog, those that a policy is asked about: what a decision costs grows with their
// number. A list follows from the static facts of a snapshot, a power level, the model that was named and a length, and from nothing else:
// a decision's record needs only its options, whose number is that length, to have the same list again. Live facts do not count: the list
// stays while they move, and the policy sees them.
//
// On it are the named model's candidates, then three of the level's own tiers for each one of the tiers below, which policies fall back to,
// then the tiers above, then models of other modes, and at last those that the gateway has no key for. Within each of these the best come first
// in three ways that take turns: by quality, by price, and by what a model can do. It is safe for concurrent use.
type Shortlists struct {
	of    []policy.Candidate
	lists sync.Map // listKey -> []uint16
	mu    sync.Mutex
	ranks map[uint8][]int // all candidates, the first choice first, by level; guarded by mu
}

type listKey struct {
	level uint8
	model uint16
	n     int
}

// NewShortlists is for snapshots with the static facts of these candidates, which must not change.
func NewShortlists(of []policy.Candidate) *Shortlists {
	return &Shortlists{of: of, ranks: map[uint8][]int{}}
}

// Numbers are those of the n candidates on a list, in the order of the catalog; nil stands for all of them, where there are no more. model is abi.NoModel
// if none was named. The slice is shared.
func (s *Shortlists) Numbers(level uint8, model uint16, n int) []uint16 {
	if n <= 0 || n >= len(s.of) {
		return nil
	}
	key := listKey{level, model, n}
	if list, ok := s.lists.Load(key); ok {
		return list.([]uint16)
	}
	list := make([]uint16, 0, n) // numbers stay below abi.MaxCandidates
	named := func(i int) bool { return model != abi.NoModel && s.of[i].Model == model }
	for i := range s.of {
		if named(i) && len(list) < n {
			list = append(list, uint16(i))
		}
	}
	for _, i := range s.ranked(level) {
		if len(list) == n {
			break
		}
		if !named(i) {
			list = append(list, uint16(i))
		}
	}
	slices.Sort(list)
	kept, _ := s.lists.LoadOrStore(key, list)
	return kept.([]uint16)
}

// Of is the part of a snapshot that a recorded request is about: the snapshot itself, if that has as many candidates.
func (s *Shortlists) Of(whole *policy.Published, r *policy.Request) *policy.Published {
	if numbers := s.Numbers(r.Level, r.Model, len(r.Options)); numbers != nil {
		return Select(whole, numbers)
	}
	return whole
}

// Select is a snapshot of some candidates of another one.
func Select(whole *policy.Published, numbers []uint16) *policy.Published {
	part := policy.Snapshot{Generation: whole.Generation, WallMillis: whole.WallMillis, Candidates: make([]policy.Candidate, len(numbers))}
	for n, i := range numbers {
		part.Candidates[n] = whole.Candidates[i]
	}
	return policy.Publish(part)
}

// ranked is every candidate, the first choice for a level first.
func (s *Shortlists) ranked(level uint8) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ranks, ok := s.ranks[level]; ok {
		return ranks
	}
	var groups [groupCount][]int
	for i := range s.of {
		g := groupOf(&s.of[i], level)
		groups[g] = append(groups[g], i)
	}
	for g := range groups {
		groups[g] = s.inTurns(groups[g])
	}
	ranks := make([]int, 0, len(s.of))
	for own, below := groups[groupOwn], groups[groupBelow]; len(own)+len(below) > 0; {
		n, m := min(ownShare, len(own)), min(1, len(below))
		ranks = append(append(ranks, own[:n]...), below[:m]...)
		own, below = own[n:], below[m:]
	}
	for _, group := range groups[groupBelow+1:] {
		ranks = append(ranks, group...)
	}
	s.ranks[level] = ranks
	return ranks
}

// inTurns puts the best of some candidates first, in three ways that take turns.
func (s *Shortlists) inTurns(group []int) []int {
	var orders [3][]int
	for n, compare := range [...]func(a, b *policy.Candidate) int{better, cheaper, abler} {
		orders[n] = slices.Clone(group)
		slices.SortStableFunc(orders[n], func(a, b int) int { return compare(&s.of[a], &s.of[b]) })
	}
	ranks, seen := group[:0], make(map[int]bool, len(group))
	for at := range orders[0] {
		for _, order := range orders {
			if i := order[at]; !seen[i] {
				seen[i] = true
				ranks = append(ranks, i)
			}
		}
	}
	return ranks
}

// The groups of candidates, for a level.
const (
	groupOwn   = iota // of its tiers
	groupBelow        // of tiers below them
	groupAbove
	groupMode  // of another mode
	groupKeyed // for those who bring a key
	groupCount

	ownShare = 3 // candidates of the level's tiers for each one below
)

func groupOf(c *policy.Candidate, level uint8) int {
	lo, hi := catalog.LevelTiers(level)
	switch {
	case c.Flags&abi.CandidateOwnKey != 0:
		return groupKeyed
	case c.Mode != abi.ModeChat:
		return groupMode
	case lo <= hi && c.Tier > hi:
		return groupAbove
	case lo <= hi && c.Tier < lo:
		return groupBelow
	}
	return groupOwn
}

func better(a, b *policy.Candidate) int {
	return cmp.Or(cmp.Compare(b.Quality, a.Quality), cheapest(a, b))
}

func cheaper(a, b *policy.Candidate) int {
	return cmp.Or(cheapest(a, b), cmp.Compare(b.Quality, a.Quality))
}

func cheapest(a, b *policy.Candidate) int {
	return cmp.Or(cmp.Compare(a.CreditsPer1K, b.CreditsPer1K), cmp.Compare(a.PriceIn+a.PriceOut, b.PriceIn+b.PriceOut))
}

// abler puts first what can do more, then what can read more.
func abler(a, b *policy.Candidate) int {
	return cmp.Or(
		cmp.Compare(bits.OnesCount32(b.Capabilities), bits.OnesCount32(a.Capabilities)),
		cmp.Compare(b.ContextWindow, a.ContextWindow), better(a, b),
	)
}
