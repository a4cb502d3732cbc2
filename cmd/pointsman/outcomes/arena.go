package outcomes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// arenaUsage are the tokens of an answer.
type arenaUsage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
}

// arenaCached is a line of RouterArena's cached_results, one file a model.
type arenaCached struct {
	Index    string     `json:"global_index"`
	Question string     `json:"question"`
	Model    string     `json:"llm_selected"`
	Usage    arenaUsage `json:"token_usage"`
	Result   *struct {
		Score *float64 `json:"score"`
		Cost  *float64 `json:"inference_cost"`
	} `json:"evaluation_result"`
}

// arenaPrediction is an element of a router's predictions, after they were evaluated.
type arenaPrediction struct {
	Index     string `json:"global index"`
	Prompt    string `json:"prompt"`
	Model     string `json:"prediction"`
	Generated *struct {
		Usage arenaUsage `json:"token_usage"`
	} `json:"generated_result"`
	Cost     *float64 `json:"cost"`
	Accuracy *float64 `json:"accuracy"`
}

// routerArena reads RouterArena's files (Lu et al. 2025, arXiv 2510.00202): the lines of cached_results, or the list of a router's
// evaluated predictions. The task is what stands before the number in an index.
func (c *Converter) routerArena(name string, in *bufio.Reader) error {
	for {
		head, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %s is empty", ErrConvert, name)
		}
		if err != nil {
			return err
		}
		if !bytes.ContainsAny(head, " \t\r\n") {
			if head[0] == '[' {
				return c.arenaPredictions(name, in)
			}
			return c.arenaLines(name, in)
		}
		_, _ = in.Discard(1) // it was peeked
	}
}

func (c *Converter) arenaLines(name string, in *bufio.Reader) error {
	for number := 1; ; number++ {
		text, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %s:%d: %w", ErrConvert, name, number, err)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			var l arenaCached
			if err := json.Unmarshal(text, &l); err != nil {
				return fmt.Errorf("%w: %s:%d: %w", ErrConvert, name, number, err)
			}
			var score, cost *float64
			if l.Result != nil {
				score, cost = l.Result.Score, l.Result.Cost
			}
			if err := c.arena(fmt.Sprintf("%s:%d", name, number), l.Index, l.Question, l.Model, l.Usage, score, cost); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (c *Converter) arenaPredictions(name string, in io.Reader) error {
	d := jsontext.NewDecoder(in)
	if _, err := d.ReadToken(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrConvert, name, err)
	}
	for number := 1; d.PeekKind() != ']'; number++ {
		var p arenaPrediction
		if err := json.UnmarshalDecode(d, &p); err != nil {
			return fmt.Errorf("%w: %s: element %d: %w", ErrConvert, name, number, err)
		}
		var usage arenaUsage
		if p.Generated != nil {
			usage = p.Generated.Usage
		}
		if err := c.arena(fmt.Sprintf("%s: element %d", name, number), p.Index, p.Prompt, p.Model, usage, p.Accuracy, p.Cost); err != nil {
			return err
		}
	}
	return nil
}

// arena takes an answer of either kind of file.
func (c *Converter) arena(place, index, prompt, model string, usage arenaUsage, score, cost *float64) error {
	if index == "" || model == "" {
		return fmt.Errorf("%w: %s: no index or no model: it is none of RouterArena's files", ErrConvert, place)
	}
	if score == nil || cost == nil {
		c.notes["answers without a score or a cost: left out"]++
		return nil
	}
	if known := c.byID[index]; known != nil {
		if _, twice := known.by[model]; twice {
			c.notes["further answers of a model to the same prompt: left out"]++
			return nil
		}
	}
	task := index
	if i := strings.LastIndexByte(index, '_'); i > 0 {
		task = index[:i]
	}
	return c.add(place, Prompt{ID: index, Task: task, Text: prompt}, model, Answer{Score: *score, Input: usage.Input, Output: usage.Output, Cost: *cost})
}
