// Command difficulty is a routing policy that reads the request: a logistic model over hashed word pairs and a few counts
// says how hard it is, and the quality that candidates must have follows from that. The weights are a parameter, so that
// they can be trained elsewhere on one's own traffic; those built in know a handful of signs.
//
// Needs the grant text. Parameters: bias and weights, "slot:weight,slot:weight,…" with slots below 4096 as hash gives them;
// easy and hard, the least quality at difficulty 0 and 1 (default 0.6 and 0.95); steps (default 4).
package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const slots = 4096

// difficulty holds the parameters.
type difficulty struct {
	bias, easy, hard float32
	steps            int
	weights          [slots]float32
}

func (d *difficulty) configure(cfg policy.Config) error {
	bias, err := cfg.Number("bias", -1.5)
	easy, err2 := cfg.Number("easy", 0.6)
	hard, err3 := cfg.Number("hard", 0.95)
	steps, err4 := cfg.Number("steps", 4)
	d.bias, d.easy, d.hard, d.steps = float32(bias), float32(easy), float32(hard), int(steps)
	clear(d.weights[:])
	for _, part := range cfg.List("weights") {
		slot, text, _ := strings.Cut(part, ":")
		n, err := strconv.ParseUint(slot, 10, 16)
		w, err2 := strconv.ParseFloat(text, 32)
		if err != nil || err2 != nil || n >= slots {
			return errors.New("weights: " + strconv.Quote(part) + " is not slot:weight with a slot below 4096")
		}
		d.weights[n] = float32(w)
	}
	if len(cfg.List("weights")) == 0 {
		for _, sign := range []string{"prove", "theorem", "derive", "optimize", "refactor", "concurrency", "step by", "why does", "complexity", "integral"} {
			d.weights[hash([]byte(sign))] = 1.2
		}
		for _, sign := range []string{"hello", "hi", "thanks", "translate", "spell", "what time", "rephrase"} {
			d.weights[hash([]byte(sign))] = -1.2
		}
	}
	return errors.Join(err, err2, err3, err4)
}

// hash is the slot of a word or of two with a space between: FNV-1a.
func hash(word []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range word {
		h = (h ^ uint32(c)) * 16777619
	}
	return h % slots
}

// rate is the difficulty of a text, from 0 to 1.
func (d *difficulty) rate(text []byte, r *policy.Request) float32 {
	sum := d.bias + 0.4*float32(math.Log2(1+float64(len(text))/200))
	if r.Task == abi.TaskReasoning || r.Task == abi.TaskCode {
		sum += 0.8
	}
	var pair [64]byte // the word before, a space, this word
	before, at := 0, 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && letter(text[i]) {
			if at < len(pair) {
				pair[at] = text[i] | 0x20
				at++
			}
			continue
		}
		if at == before {
			continue
		}
		sum += d.weights[hash(pair[before:at])]
		if before > 0 {
			sum += d.weights[hash(pair[:at])]
		}
		n := copy(pair[:], pair[before:min(at, before+30)])
		pair[n] = ' '
		before, at = n+1, n+1
	}
	return float32(1 / (1 + math.Exp(-float64(sum))))
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 }

func (d *difficulty) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	hardness := d.rate(r.Text, r)
	least := d.easy + (d.hard-d.easy)*hardness
	p.Rank(s, r, d.steps, abi.BecauseTask, func(i int) (float32, uint16) {
		x := &s.Candidates[i]
		if x.Quality >= least {
			return -float32(x.CreditsPer1K), abi.ReasonNone
		}
		return -1e9 + x.Quality, abi.ReasonNone // better than no answer
	})
	p.Explanation = strconv.AppendFloat(append(p.Explanation, "difficulty "...), float64(hardness), 'f', 2, 32)
}

func newPolicy() policy.Policy {
	d := new(difficulty)
	return policy.Policy{
		Description: "difficulty of the text decides the quality (Go)", Needs: abi.GrantText, Configure: d.configure, Route: d.route,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
