package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pointsman/pointsman/sdk/provider"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

// Client is the gateway's side of one plugin process. It is safe for concurrent use. Its errors match those of
// sdk/provider, or the error of the context.
type Client struct {
	conn   *grpc.ClientConn
	client providerv1.ProviderServiceClient
	health grpc_health_v1.HealthClient
}

// NewClient returns a client on a connection; the caller keeps and closes the connection.
func NewClient(conn *grpc.ClientConn) *Client {
	return &Client{
		conn: conn, client: providerv1.NewProviderServiceClient(conn), health: grpc_health_v1.NewHealthClient(conn),
	}
}

// AwaitLoss waits until an established connection breaks, and tells whether it did: false if ctx ended before.
func (c *Client) AwaitLoss(ctx context.Context) bool {
	return c.conn.WaitForStateChange(ctx, connectivity.Ready)
}

// Describe lists the adapters of the process.
func (c *Client) Describe(ctx context.Context) ([]provider.Description, error) {
	resp, err := c.client.Describe(ctx, &providerv1.DescribeRequest{})
	if err != nil {
		return nil, fromStatus(ctx, err)
	}
	out := make([]provider.Description, 0, len(resp.GetAdapters()))
	for _, d := range resp.GetAdapters() {
		out = append(out, provider.Description{Name: d.GetName(), Version: d.GetVersion(), Summary: d.GetSummary()})
	}
	return out, nil
}

// Ping asks whether the process answers at all; any answer will do.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	}
	return nil
}

// Prepare asks an adapter for an endpoint.
func (c *Client) Prepare(ctx context.Context, adapter string, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	resp, err := c.client.Prepare(ctx, &providerv1.PrepareRequest{
		Adapter: adapter, Provider: req.Provider, BaseUrl: req.BaseURL, Settings: req.Settings,
	})
	if err != nil {
		return nil, fromStatus(ctx, err)
	}
	return endpointFromProto(resp.GetEndpoint())
}

// Models asks an adapter what its provider offers. The error is a *provider.Error if the provider refused, and matches
// errors.ErrUnsupported if the adapter, or its plugin, cannot ask.
func (c *Client) Models(ctx context.Context, adapter string, req *provider.ModelsRequest) ([]provider.Model, error) {
	resp, err := c.client.Models(ctx, &providerv1.ModelsRequest{
		Adapter: adapter, Provider: req.Provider, BaseUrl: req.BaseURL, Credential: req.Credential.Reveal(), Settings: req.Settings,
		AllowPrivate: req.AllowPrivate,
	})
	if err != nil {
		return nil, optional(ctx, err)
	}
	if err := failureFromProto(resp.GetFailure()); err != nil {
		return nil, err
	}
	out := make([]provider.Model, 0, len(resp.GetModels()))
	for _, m := range resp.GetModels() {
		out = append(out, provider.Model{
			ID: m.GetId(), ContextWindow: m.GetContextWindow(), MaxOutput: m.GetMaxOutput(), Capabilities: m.GetCapabilities(),
		})
	}
	return out, nil
}

// Probe lets an adapter ask whether a provider and a credential work. Its errors are those of [Client.Models].
func (c *Client) Probe(ctx context.Context, adapter string, req *provider.ProbeRequest) error {
	resp, err := c.client.Probe(ctx, &providerv1.ProbeRequest{
		Adapter: adapter, Provider: req.Provider, BaseUrl: req.BaseURL, Credential: req.Credential.Reveal(), Settings: req.Settings,
		AllowPrivate: req.AllowPrivate,
	})
	if err != nil {
		return optional(ctx, err)
	}
	return failureFromProto(resp.GetFailure())
}

// optional reads the error of a method that a plugin need not have.
func optional(ctx context.Context, err error) error {
	if status.Code(err) == codes.Unimplemented && ctx.Err() == nil {
		return fmt.Errorf("%w by this adapter", errors.ErrUnsupported)
	}
	return fromStatus(ctx, err)
}

// Call lets an adapter make one call. The answer's methods run on the caller's goroutine; an error of theirs ends the
// call and is returned as it is.
func (c *Client) Call(ctx context.Context, adapter string, req *provider.CallRequest, answer provider.AnswerWriter) error {
	msg := &providerv1.CallRequest{
		Adapter: adapter, Provider: req.Provider, Operation: req.Operation, Model: req.Model, Stream: req.Stream,
		Body: req.Body, Credential: req.Credential.Reveal(), BaseUrl: req.BaseURL, Settings: req.Settings, RequestId: req.RequestID,
		AllowPrivate: req.AllowPrivate,
	}
	if size := proto.Size(msg); size > MaxMessageBytes {
		return fmt.Errorf("%w: the request has %d bytes, the limit is %d", provider.ErrTooLarge, size, MaxMessageBytes)
	}
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel() // also tells the plugin when the answer's writer failed
	stream, err := c.client.Call(callCtx, msg)
	if err != nil {
		return fromStatus(ctx, err)
	}
	in := answerReader{answer: answer, streamed: req.Stream}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return in.end()
		}
		if err != nil {
			return fromStatus(ctx, err)
		}
		if err := in.take(resp); err != nil {
			return err
		}
	}
}

// answerReader checks the order of an answer and puts split events together again.
type answerReader struct {
	answer   provider.AnswerWriter
	streamed bool
	begun    bool
	pending  [][]byte // the pieces of an event so far
	size     int      // of them
}

func (r *answerReader) take(resp *providerv1.CallResponse) error {
	switch kind := resp.GetKind().(type) {
	case *providerv1.CallResponse_Head:
		if r.begun {
			return errors.New("the plugin sent a second head")
		}
		r.begun = true
		code := int(kind.Head.GetStatus())
		if code < 200 || code > 599 {
			return fmt.Errorf("the plugin sent the status %d", code)
		}
		if err := r.answer.Head(code, kind.Head.GetHeader()); err != nil || len(kind.Head.GetData()) == 0 {
			return err
		}
		return r.answer.Part(kind.Head.GetData())
	case *providerv1.CallResponse_Part:
		if !r.begun {
			return errors.New("the plugin sent a part before the head")
		}
		return r.part(kind.Part)
	}
	return errors.New("the plugin sent a message of an unknown kind")
}

func (r *answerReader) part(part *providerv1.Part) error {
	data := part.GetData()
	if !r.streamed {
		return r.answer.Part(data)
	}
	if !part.GetMore() && r.pending == nil {
		return r.answer.Part(data)
	}
	if r.size += len(data); r.size > MaxEventBytes {
		r.pending = nil
		return fmt.Errorf("%w: an event of the answer exceeds %d bytes", provider.ErrTooLarge, MaxEventBytes)
	}
	r.pending = append(r.pending, data)
	if part.GetMore() {
		return nil
	}
	event := make([]byte, 0, r.size) // once, when it is known to be whole: growing would take twice as much
	for i, piece := range r.pending {
		event = append(event, piece...)
		r.pending[i] = nil
	}
	r.pending, r.size = nil, 0
	return r.answer.Part(event)
}

func (r *answerReader) end() error {
	switch {
	case !r.begun:
		return errors.New("the plugin ended the call without an answer")
	case r.pending != nil:
		return errors.New("the plugin ended the call inside an event")
	}
	return nil
}
