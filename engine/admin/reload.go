package admin

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
)

// Reload tells which configuration holds, and what came of the last time that it was read.
type Reload struct {
	Configuration uint64    `json:"configuration"` // number of the one that holds, counted from 1 at the start
	At            time.Time `json:"at"`            // when it was last read, whether it holds or not
	By            string    `json:"by"`            // start, SIGHUP, admin API, or file where it was seen to change
	Error         string    `json:"error,omitempty"`
	NeedsRestart  []string  `json:"needs_restart"` // settings that were changed and are read at the start alone
	Warnings      []string  `json:"warnings"`
}

// reload reads the configuration again. An error is one of the configuration, which is the operator's own.
func (a *api) reload(ctx *fasthttp.RequestCtx) {
	done, err := a.Reload("admin API")
	if err != nil {
		fault(ctx, fasthttp.StatusUnprocessableEntity, "configuration_refused", "", err.Error())
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, done)
}
