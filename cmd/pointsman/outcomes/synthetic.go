package outcomes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Synthetic makes a set of prompts that nobody asked, for tests and for the tutorial, the same for the same seed. Every
// prompt has a hidden difficulty, even over 0 to 1. Its words are of a simple kind or of a demanding one, the latter with that
// probability, so that the words tell of the difficulty and do not give it away. Four models answer it well with the
// probability 1/(1+exp(10(difficulty-ability))), the ability of each by task; scores are 0 or 1, but those of writing, which
// a judge would have given in tenths. Longer and harder prompts get longer answers, dearer models have the dearer tokens.
func Synthetic(prompts int, seed uint64) *Set {
	random := rand.New(rand.NewPCG(seed, 0x5e7))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	s := &Set{Models: []string{"syn-large", "syn-medium", "syn-mini", "syn-small"}}
	kinds := syntheticTasks()
	for i := range prompts {
		t := kinds[i%len(kinds)]
		hard := random.Float64()
		words := []string{pick(t.opening)}
		for range 4 + random.IntN(6) {
			if random.Float64() < hard {
				words = append(words, pick(t.demanding))
			} else {
				words = append(words, pick(t.simple))
			}
		}
		p := Prompt{ID: fmt.Sprintf("%s-%03d", t.name, i/len(kinds)), Task: t.name, Text: strings.Join(words, " ") + "."}
		for m := range s.Models {
			well := 1 / (1 + math.Exp(10*(hard-t.ability[m])))
			a := Answer{Input: int64(len(p.Text)/4 + 8), Output: int64(20 + 200*hard + 60*random.Float64())}
			if random.Float64() < well {
				a.Score = 1
			}
			if t.graded {
				a.Score = math.Round(10*min(max(well+0.2*(random.Float64()-0.5), 0), 1)) / 10
			}
			price := []float64{8, 1.5, 0.05, 0.3}[m] // USD per 1M tokens in, of which five go to one out
			a.Cost = math.Round((float64(a.Input)+5*float64(a.Output))*price) / 1e6
			p.Answers = append(p.Answers, a)
		}
		s.Prompts = append(s.Prompts, p)
	}
	for _, t := range kinds[:min(len(kinds), prompts)] {
		s.Tasks = append(s.Tasks, t.name)
	}
	return s
}

// syntheticTask is a kind of prompts.
type syntheticTask struct {
	name                       string
	opening, simple, demanding []string
	ability                    [4]float64 // large, medium, mini, small
	graded                     bool
}

// syntheticTasks are the kinds, sorted by name.
func syntheticTasks() []syntheticTask {
	f := strings.Fields
	return []syntheticTask{
		{
			name: "code", opening: []string{"Write a function for", "Fix the code of", "Explain the code of"}, ability: [4]float64{0.95, 0.7, 0.2, 0.45},
			simple: f("a list loop string counter file greeting menu button colour sum"), demanding: f("lock-free concurrent deadlock scheduler compiler amortised invariant borrow race kernel"),
		},
		{
			name: "math", opening: []string{"Calculate", "Solve", "Work out"}, ability: [4]float64{0.9, 0.6, 0.15, 0.35},
			simple: f("the sum of apples price change half double total minutes coins"), demanding: f("eigenvalue integral manifold convergence induction modular bijection asymptotic lemma conjecture"),
		},
		{
			name: "support", opening: []string{"Help me with", "A customer asks about", "Tell me about"}, ability: [4]float64{0.98, 0.9, 0.6, 0.8},
			simple: f("my order password delivery invoice address opening hours refund parcel account"), demanding: f("arbitration jurisdiction retroactive indemnity escrow chargeback subrogation compliance audit lien"),
		},
		{
			name: "writing", opening: []string{"Write a text about", "Improve this text about", "Shorten this text about"}, ability: [4]float64{0.95, 0.85, 0.4, 0.65}, graded: true,
			simple: f("my dog holiday garden birthday school friend summer picnic weather kitchen"), demanding: f("villanelle irony allegory pastiche metre epistolary elegy dialectic palimpsest cadence"),
		},
	}
}
