package outcomes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/tokens"
)

// ErrConvert: a file is not of the format, or lacks something; the text says where and what.
var ErrConvert = errors.New("converting outcomes")

// Formats are the names of those that [Converter.Add] reads.
func Formats() []string { return []string{"routerbench", "routellm", "routerarena"} }

// Price is what a model costs, in USD per million tokens.
type Price struct{ In, Out float64 }

// Converter turns files of other projects into outcomes. It is not safe for concurrent use.
type Converter struct {
	Task   string           // of prompts whose file names none; "" stands for the file's name
	Prices map[string]Price // of models whose cost the file does not tell
	Known  *catalog.Catalog // has the prices of the others

	all     []*answered
	byID    map[string]*answered
	counter *tokens.Counter
	notes   map[string]int
}

// Add reads a file of a format; name is its name in messages. What the formats hold, and what of it is used, is in
// docs/outcomes.md. The error wraps [ErrConvert], or is the reader's.
func (c *Converter) Add(format, name string, in io.Reader) error {
	if c.byID == nil {
		c.byID, c.notes, c.counter = map[string]*answered{}, map[string]int{}, tokens.New()
	}
	buffered := bufio.NewReaderSize(in, 1<<16)
	if head, err := buffered.Peek(2); err == nil && head[0] == 0x80 && head[1] <= 5 {
		return fmt.Errorf("%w: %s is a pickle of Python, which can run code and is not read: write it as CSV with pandas.read_pickle(FILE).to_csv(FILE)", ErrConvert, name)
	}
	switch format {
	case "routerbench":
		return c.routerBench(name, buffered)
	case "routellm":
		return c.routeLLM(name, buffered)
	case "routerarena":
		return c.routerArena(name, buffered)
	}
	return fmt.Errorf("%w: format %q is not known; there are %s", ErrConvert, format, strings.Join(Formats(), ", "))
}

// Notes tell what was left out or assumed, sorted.
func (c *Converter) Notes() []string {
	var notes []string
	for _, what := range sortedKeys(c.notes) {
		notes = append(notes, fmt.Sprintf("%d %s", c.notes[what], what))
	}
	return notes
}

// Write writes the outcomes as [Read] reads them. It returns how many prompts and answers there are.
func (c *Converter) Write(out io.Writer) (prompts, answers int, err error) {
	w := bufio.NewWriter(out)
	for _, p := range c.all {
		for n, model := range sortedKeys(p.by) {
			if err := writeLine(w, &p.Prompt, n == 0, model, p.by[model]); err != nil {
				return 0, 0, err
			}
			answers++
		}
	}
	return len(c.all), answers, w.Flush()
}

// add takes one answer. A prompt that has other words in another file keeps its first ones.
func (c *Converter) add(place string, p Prompt, model string, a Answer) error {
	for _, f := range a.faults() {
		return fmt.Errorf("%w: %s: %s of %s: %s", ErrConvert, place, f[0], model, f[1])
	}
	known := c.byID[p.ID]
	if known == nil {
		known = &answered{Prompt: p, by: map[string]Answer{}}
		c.byID[p.ID] = known
		c.all = append(c.all, known)
	} else if known.Text != p.Text {
		c.notes["answers to a prompt with other words than in the file before: the first words are kept"]++
	}
	if _, twice := known.by[model]; twice {
		return fmt.Errorf("%w: %s: %s has answered %s already", ErrConvert, place, model, p.ID)
	}
	known.by[model] = a
	return nil
}

// count is how many tokens a text has for a model, at least 1.
func (c *Converter) count(model, text string) int64 {
	tally := c.counter.Tally(tokens.FamilyOf(model))
	tally.Add([]byte(text))
	return max(tally.Tokens(), 1)
}

// priced is the cost of a call, by the price that was given or that of the catalog.
func (c *Converter) priced(model string, input, output int64) (float64, error) {
	p, ok := c.Prices[model]
	if r, known := c.Known.Resolve(model); !ok && known {
		d := r.Model.Deployments[0]
		p, ok = Price{float64(d.Price.Rate(catalog.RateIn)) / 1e6, float64(d.Price.Rate(catalog.RateOut)) / 1e6}, true
	}
	if !ok {
		return 0, fmt.Errorf("%w: the file tells no costs, and the price of %s is not known: give --price %s=IN/OUT in USD per million tokens", ErrConvert, model, model)
	}
	return (float64(input)*p.In + float64(output)*p.Out) / 1e6, nil
}

func (c *Converter) task(name string) string {
	if c.Task != "" {
		return c.Task
	}
	return strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
}
