package overload

import (
	"net"
	"sync"
	"time"
)

// SlowAfter is when a client that still sends its request counts as a slow sender.
const SlowAfter = time.Second

// senders counts the slow ones by address.
type senders struct {
	mu     sync.Mutex
	counts map[string]int
}

// SlowSender counts a client that is slow in sending its request; nil if its address may have one more. It must be taken
// back by SentAll.
func (g *Guard) SlowSender(from net.Addr) *Shed {
	if g == nil || g.cfg.Senders == 0 {
		return nil
	}
	host := hostOf(from)
	g.senders.mu.Lock()
	defer g.senders.mu.Unlock()
	if g.senders.counts[host] >= g.cfg.Senders {
		return g.refuse(SlowSender, leastRetry)
	}
	g.senders.counts[host]++
	return nil
}

// SentAll takes back a slow sender.
func (g *Guard) SentAll(from net.Addr) {
	if g == nil || g.cfg.Senders == 0 {
		return
	}
	host := hostOf(from)
	g.senders.mu.Lock()
	defer g.senders.mu.Unlock()
	if g.senders.counts[host]--; g.senders.counts[host] <= 0 {
		delete(g.senders.counts, host)
	}
}

func hostOf(from net.Addr) string {
	if tcp, ok := from.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().String()
	}
	return from.String()
}
