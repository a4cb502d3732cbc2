package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// kind is one sort of request of a mixture.
type kind struct {
	name    string
	percent int
	model   string // the members that name it
	wish    string // what the upstream is told
	stream  bool
	path    string                           // "" for chat
	content func() string                    // of the message, nil for text
	leave   time.Duration                    // when the client goes away, 0: not before the end
	status  int                              // with which an answer comes whose upstream has failed
	code    string                           // of its error; "" if the upstream never fails
	check   func(status int, b []byte) error // nil: as its workload
	rest    bool                             // one makes the gateway see which connections to its upstream have been idle for too long
}

const (
	levelModel = `"model":"auto","power_level":"balanced",`
	flakyModel = `"model":"flaky-1",` // of a provider of its own, so that its circuit is nobody else's
	downModel  = `"model":"down-1",`  // where nothing listens
	// failEvery keeps the circuit closed, which five failures in a row open.
	failEvery = "every=4"
)

// kinds make a hundred percent.
var kinds = []kind{
	{name: "buffered", percent: 52, model: levelModel, rest: true},
	{name: "streams", percent: 20, model: levelModel, stream: true},
	{name: "clients that leave before the answer", percent: 2, model: levelModel, wish: "delay=200ms", leave: 20 * time.Millisecond},
	{name: "clients that leave in a stream", percent: 3, model: levelModel, wish: "pace=5ms", stream: true, leave: 60 * time.Millisecond},
	{name: "one in four an error of the upstream", percent: 6, model: flakyModel, wish: "status=500," + failEvery, status: 502, code: "provider_error", rest: true},
	{name: "one in four beyond its rate limit", percent: 3, model: flakyModel, wish: "status=429," + failEvery, status: 429, code: "provider_rate_limited"},
	{name: "one in four an answer that is cut", percent: 3, model: flakyModel, wish: "cut," + failEvery, status: 502, code: "provider_error"},
	{name: "one in four a stream that is cut", percent: 3, model: flakyModel, wish: "cut," + failEvery, stream: true, status: 200, code: "provider_stream_error"},
	{name: "to an upstream that is down", percent: 2, model: downModel, status: 502, code: "provider_unreachable"},
	{name: "images made", percent: 3, model: `"model":"bench-image",`, path: "/v1" + imagePath, check: checkImage},
	{name: "images shown", percent: 3, model: `"model":"bench-vision",`, content: pictureContent},
}

// fate is what became of a request, if that is right.
type fate int

const (
	whole   fate = iota // the upstream's answer
	failed              // the error that its failure becomes
	refused             // the upstream was not asked, for its circuit is open
	fates
)

// Tally is what became of requests whose upstream may fail.
type Tally struct {
	Whole   int `json:"whole"`   // got the upstream's answer, some of them after a repetition
	Failed  int `json:"failed"`  // got the error that the upstream's failure becomes
	Refused int `json:"refused"` // got the error of an open circuit
	Asked   int `json:"asked"`   // how often the upstream was asked for them
}

// failures is how often the upstream failed.
func (t Tally) failures() int { return t.Asked - t.Whole }

func checkImage(status int, body []byte) error {
	if status != 200 || !bytes.Contains(body, []byte(`"b64_json"`)) {
		return fmt.Errorf("answered %d: %.300s", status, body)
	}
	return nil
}

// pictureContent is a message with a picture of 100 KB.
func pictureContent() string {
	picture := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("a signal box at night "), 100<<10/22))
	return `[{"type":"text","text":"What does the signal show?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + picture + `"}}]`
}

// request is what goes over the wire.
func (k *kind) request(p *process) []byte {
	if k.path == "" && k.content == nil {
		w := k.workload()
		q := *p
		q.shape = shape{model: k.model}
		return w.request(&q)
	}
	path, body := k.path, `{`+k.model+`"prompt":"A railway switch in the snow","n":1}`
	if k.content != nil {
		path, body = "/v1/chat/completions", `{`+k.model+`"max_tokens":64,"messages":[{"role":"user","content":`+k.content()+`}]}`
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, p.hostPort(), p.key, len(body), body)
}

func (k *kind) workload() workload {
	return workload{name: k.name, prompt: 2 << 10, stream: k.stream, wish: k.wish}
}

var errorCode = regexp.MustCompile(`"code":"([a-z_]+)"`)

// verify says what became of a request whose answer is right; own, of one that is not, that it is an error of the gateway itself. asked is how often the
// upstream was asked.
func (k *kind) verify(status, asked int, body []byte) (f fate, own bool, err error) {
	check := k.check
	if check == nil {
		check = k.workload().check
	}
	err = check(status, body)
	switch {
	case err == nil && k.model == downModel:
		err = errors.New("an answer of an upstream that is down")
	case err == nil && !k.stream && !json.Valid(body):
		err = fmt.Errorf("a part of an answer: %.300s", body)
	}
	if err == nil || k.code == "" {
		return whole, status >= 500, err
	}
	code := ""
	if found := errorCode.FindSubmatch(body); found != nil {
		code = string(found[1])
	}
	begun := bytes.Contains(body, []byte(chunkMark)) && !bytes.Contains(body, []byte("data: [DONE]"))
	switch {
	case status == k.status && code == k.code && asked > 0 && (begun || status != 200):
		return failed, false, nil
	case status == 503 && (code == "no_candidate" && asked == 0 || code == "provider_overloaded"): // the latter while another request tries the circuit
		return refused, false, nil
	}
	return whole, status >= 500, err
}

// mixture sends requests of all kinds to one gateway and counts what becomes of them.
type mixture struct {
	address  string
	requests [][]byte // by kind
	order    []int    // a hundred kinds, mixed

	mu    sync.Mutex
	sent  []int
	fates [][fates]int
	asked []int           // the upstream, as the gateway says
	took  []time.Duration // of buffered answers
	own   int
	wrong int
	first string
}

func newMixture(p *process) *mixture {
	m := &mixture{address: p.hostPort()}
	m.forget()
	left := make([]int, len(kinds))
	for i := range kinds {
		m.requests = append(m.requests, kinds[i].request(p))
		left[i] = kinds[i].percent
	}
	for range 100 { // the same in every run, and each kind spread evenly
		best := 0
		for i, k := range kinds {
			if left[i]*kinds[best].percent > left[best]*k.percent || left[best] == 0 {
				best = i
			}
		}
		left[best]--
		m.order = append(m.order, best)
	}
	return m
}

// forget what was counted, but not what was wrong.
func (m *mixture) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent, m.fates, m.asked, m.took = make([]int, len(kinds)), make([][fates]int, len(kinds)), make([]int, len(kinds)), nil
}

// capacity is how many requests of the mixture are answered in a second when 64 are always under way.
func (m *mixture) capacity(ctx context.Context, lasting time.Duration) (float64, error) {
	var next atomic.Int64
	until := time.Now().Add(lasting)
	began := time.Now()
	err := together(64, func(int) error {
		c := &wire{address: m.address}
		defer c.close()
		for time.Now().Before(until) && ctx.Err() == nil {
			m.one(ctx, c, m.order[int(next.Add(1)-1)%len(m.order)], time.Now())
		}
		return ctx.Err()
	})
	return float64(next.Load()) / time.Since(began).Seconds(), err
}

// pacer says when requests are due, whatever became of those before.
type pacer struct {
	mu    sync.Mutex
	due   time.Time // the next one
	every time.Duration
}

func newPacer(rate float64) *pacer {
	p := &pacer{due: time.Now()}
	p.set(max(rate, 1))
	return p
}

// take is when the next request is due.
func (p *pacer) take() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := p.due
	p.due = due.Add(p.every)
	return due
}

// adapt comes nearer to the rate at which the processors are as busy as they shall be, where they are busy for a share of their time now.
func (p *pacer) adapt(busy, wanted float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const step = 0.2 // of the difference, at most a fifth: the share of a second varies
	p.every = time.Duration(float64(p.every) * min(max(1+step*(busy/wanted-1), 1-step), 1+step))
}

// set fixes the rate, in requests a second.
func (p *pacer) set(rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = time.Duration(float64(time.Second) / rate)
}

// rate is how many requests a second are due at the moment.
func (p *pacer) rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 1 / p.every.Seconds()
}

// send keeps the pace of p for some time. It returns when all are answered that began in time, with the number of those that did not.
func (m *mixture) send(ctx context.Context, p *pacer, lasting time.Duration) (behind int, err error) {
	m.forget()
	end := time.Now().Add(lasting)
	var next, skipped atomic.Int64
	err = together(soakWorkers, func(int) error {
		clock, err := newAlarm()
		if err != nil {
			return err
		}
		defer clock.close()
		c := &wire{address: m.address}
		defer c.close()
		for {
			due := p.take()
			switch {
			case !due.Before(end) || ctx.Err() != nil:
				return ctx.Err()
			case time.Now().After(end):
				skipped.Add(1)
				continue
			}
			if err := clock.wait(time.Until(due)); err != nil {
				return err
			}
			m.one(ctx, c, m.order[int(next.Add(1)-1)%len(m.order)], due)
		}
	})
	return int(skipped.Load()), err
}

// one sends a request of the i-th kind over a connection, which is made if there is none.
func (m *mixture) one(ctx context.Context, c *wire, i int, due time.Time) {
	k := &kinds[i]
	status, body, err := c.raw(ctx, k, m.requests[i])
	took := time.Since(due)
	left := k.leave > 0 && err != nil && !time.Now().Before(c.deadline)
	asked, _ := strconv.Atoi(string(c.resp.Header.Peek("X-Pointsman-Attempts"))) // 0: it does not say
	f, own := whole, false
	switch {
	case left && (status == 200 || status == 0): // or there is none yet
		err = nil
	case err == nil || left:
		f, own, err = k.verify(status, asked, body)
	}
	if err != nil || left {
		c.close()
		c.conn = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	m.sent[i]++
	if i == 0 {
		m.took = append(m.took, took)
	}
	if err == nil {
		m.fates[i][f]++
		m.asked[i] += asked
		return
	}
	if own {
		m.own++
	} else {
		m.wrong++
	}
	if m.first == "" {
		m.first = k.name + ": " + err.Error()
	}
}

// fill puts what was counted into a report.
func (m *mixture) fill(r *SoakReport) {
	r.Requests, r.Failing = map[string]int{}, map[string]Tally{}
	for i, k := range kinds {
		r.Requests[k.name] = m.sent[i]
		if k.code != "" {
			r.Failing[k.name] = Tally{Whole: m.fates[i][whole], Failed: m.fates[i][failed], Refused: m.fates[i][refused], Asked: m.asked[i]}
		}
	}
	slices.Sort(m.took)
	r.P50MS, r.P99MS = milliseconds(percentile(m.took, 50)), milliseconds(percentile(m.took, 99))
	r.OwnErrors, r.Wrong, r.First = m.own, m.wrong, m.first
}

// raw sends a request and reads its answer, or what there is of it until the client leaves.
func (c *wire) raw(ctx context.Context, k *kind, request []byte) (status int, body []byte, err error) {
	limit := time.Minute
	if k.leave > 0 {
		limit = k.leave
	}
	c.deadline = time.Now().Add(limit)
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return 0, nil, err
		}
	} else if err := c.conn.SetDeadline(c.deadline); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, err
	}
	err = c.resp.ReadLimitBody(c.reader, 8<<20)
	status, body = c.resp.StatusCode(), c.resp.Body()
	if cut := k.code != "" && k.stream && err != nil; cut || err == nil && c.resp.ConnectionClose() { // a stream that fails ends with its connection
		c.close()
		c.conn = nil
		err = nil
	}
	return status, body, err
}

// atRest waits until the gateway lets go of what it keeps for the next requests, and reads what it holds then: the least of some looks, for work in the
// background takes a goroutine or a file for a moment.
func (m *mixture) atRest(ctx context.Context, p *process, s *site) (least Holdings, err error) {
	if err := pause(ctx, soakRest); err != nil {
		return least, err
	}
	c := &wire{address: m.address}
	for i, k := range kinds {
		if k.rest {
			m.one(ctx, c, i, time.Now())
		}
	}
	c.close()
	for look := range restLooks {
		if err := pause(ctx, watchEvery); err != nil {
			return least, err
		}
		h, err := holdings(p, s)
		if err != nil {
			return least, err
		}
		if look == 0 {
			least = h
		}
		least = least.each(h, math.Min)
	}
	return least, nil
}
