package bench

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/valyala/fasthttp"
)

// ServeProxy serves the bare reverse proxy on a free loopback port, whose URL it prints to out, until the process is ended.
// It does nothing but pass the request and the answer on, without a copy: for a buffered answer the least a Go program on fasthttp can cost. Of a stream it
// flushes every chunk by itself, as fasthttp does, where a program that joins what is there already can cost less.
func ServeProxy(out io.Writer, upstream string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the proxy: %w", err)
	}
	fmt.Fprintf(out, "http://%s\n", ln.Addr())
	client := &fasthttp.HostClient{Addr: strings.TrimPrefix(upstream, "http://"), MaxConns: 16 << 10}
	server := &fasthttp.Server{
		MaxRequestBodySize: 8 << 20,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.StreamBody = string(ctx.Request.Header.Peek(fasthttp.HeaderAccept)) == acceptStream
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error(err.Error(), fasthttp.StatusBadGateway)
			}
		},
	}
	if err := server.Serve(ln); err != nil {
		return fmt.Errorf("serving the proxy: %w", err)
	}
	return nil
}
