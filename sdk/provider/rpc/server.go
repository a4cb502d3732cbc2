package rpc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pointsman/pointsman/sdk/provider"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

// server is the plugin's side: it dispatches by adapter name.
type server struct {
	providerv1.UnimplementedProviderServiceServer
	adapters     map[string]provider.Adapter
	descriptions []*providerv1.Description
}

// Register adds the service with the given adapters to a server; [Serve] does it for a plugin. The error says which
// adapter's description is unusable.
func Register(s grpc.ServiceRegistrar, adapters ...provider.Adapter) error {
	server, err := newServer(adapters)
	if err != nil {
		return err
	}
	providerv1.RegisterProviderServiceServer(s, server)
	return nil
}

// check says what is wrong with the adapters of a plugin.
func check(adapters []provider.Adapter) error {
	_, err := newServer(adapters)
	return err
}

func newServer(adapters []provider.Adapter) (*server, error) {
	if len(adapters) == 0 {
		return nil, errors.New("no adapters to serve")
	}
	valid := regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	s := &server{adapters: make(map[string]provider.Adapter, len(adapters))}
	for i, adapter := range adapters {
		d, err := adapter.Describe(context.Background())
		if err != nil {
			return nil, fmt.Errorf("describing adapter %d: %w", i, err)
		}
		if d == nil || !valid.MatchString(d.Name) {
			return nil, fmt.Errorf("describing adapter %d: the name must match [a-z0-9-]{1,32}", i)
		}
		if s.adapters[d.Name] != nil {
			return nil, fmt.Errorf("adapter %q is given twice", d.Name)
		}
		s.adapters[d.Name] = adapter
		s.descriptions = append(s.descriptions, &providerv1.Description{Name: d.Name, Version: d.Version, Summary: d.Summary})
	}
	return s, nil
}

// Describe lists the adapters.
func (s *server) Describe(context.Context, *providerv1.DescribeRequest) (*providerv1.DescribeResponse, error) {
	return &providerv1.DescribeResponse{Adapters: s.descriptions}, nil
}

// Prepare asks the adapter for an endpoint.
func (s *server) Prepare(ctx context.Context, req *providerv1.PrepareRequest) (_ *providerv1.PrepareResponse, err error) {
	defer recovered(&err)
	adapter := s.adapters[req.GetAdapter()]
	if adapter == nil {
		return nil, status.Errorf(codes.NotFound, "no adapter %q", req.GetAdapter())
	}
	endpoint, err := adapter.Prepare(ctx, &provider.PrepareRequest{
		Provider: req.GetProvider(), BaseURL: req.GetBaseUrl(), Settings: req.GetSettings(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	if endpoint == nil {
		return nil, status.Error(codes.Internal, "the adapter gave no endpoint")
	}
	return &providerv1.PrepareResponse{Endpoint: endpointToProto(endpoint)}, nil
}

// Models lets the adapter list what its provider offers.
func (s *server) Models(ctx context.Context, req *providerv1.ModelsRequest) (_ *providerv1.ModelsResponse, err error) {
	defer recovered(&err)
	adapter := s.adapters[req.GetAdapter()]
	if adapter == nil {
		return nil, status.Errorf(codes.NotFound, "no adapter %q", req.GetAdapter())
	}
	lister, ok := adapter.(provider.Lister)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "adapter %q lists no models", req.GetAdapter())
	}
	models, err := lister.Models(ctx, &provider.ModelsRequest{
		Provider: req.GetProvider(), BaseURL: req.GetBaseUrl(), Credential: provider.NewSecret(req.GetCredential()), Settings: req.GetSettings(),
		AllowPrivate: req.GetAllowPrivate(),
	})
	failure, err := failureToProto(err)
	if err != nil {
		return nil, err
	}
	resp := &providerv1.ModelsResponse{Failure: failure}
	for _, m := range models {
		resp.Models = append(resp.Models, &providerv1.Model{
			Id: m.ID, ContextWindow: m.ContextWindow, MaxOutput: m.MaxOutput, Capabilities: m.Capabilities,
		})
	}
	return resp, nil
}

// Probe lets the adapter ask whether its provider and a credential work.
func (s *server) Probe(ctx context.Context, req *providerv1.ProbeRequest) (_ *providerv1.ProbeResponse, err error) {
	defer recovered(&err)
	adapter := s.adapters[req.GetAdapter()]
	if adapter == nil {
		return nil, status.Errorf(codes.NotFound, "no adapter %q", req.GetAdapter())
	}
	prober, ok := adapter.(provider.Prober)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "adapter %q does not probe", req.GetAdapter())
	}
	failure, err := failureToProto(prober.Probe(ctx, &provider.ProbeRequest{
		Provider: req.GetProvider(), BaseURL: req.GetBaseUrl(), Credential: provider.NewSecret(req.GetCredential()), Settings: req.GetSettings(),
		AllowPrivate: req.GetAllowPrivate(),
	}))
	if err != nil {
		return nil, err
	}
	return &providerv1.ProbeResponse{Failure: failure}, nil
}

// Call lets the adapter make one call and streams its answer.
func (s *server) Call(req *providerv1.CallRequest, stream grpc.ServerStreamingServer[providerv1.CallResponse]) (err error) {
	defer recovered(&err)
	adapter := s.adapters[req.GetAdapter()]
	if adapter == nil {
		return status.Errorf(codes.NotFound, "no adapter %q", req.GetAdapter())
	}
	caller, ok := adapter.(provider.Caller)
	if !ok {
		return status.Errorf(codes.Unimplemented, "adapter %q makes no calls", req.GetAdapter())
	}
	answer := &answerSender{stream: stream, streamed: req.GetStream()}
	err = caller.Call(stream.Context(), &provider.CallRequest{
		Provider: req.GetProvider(), Operation: req.GetOperation(), Model: req.GetModel(), Stream: req.GetStream(),
		Body: req.GetBody(), Credential: provider.NewSecret(req.GetCredential()), BaseURL: req.GetBaseUrl(), Settings: req.GetSettings(),
		RequestID: req.GetRequestId(), AllowPrivate: req.GetAllowPrivate(),
	}, answer)
	if err != nil {
		return toStatus(err)
	}
	if !answer.begun {
		return status.Error(codes.Internal, "the adapter ended the call without an answer")
	}
	return answer.sendHead(nil)
}

// answerSender sends an adapter's answer, large parts in pieces. The head of a buffered answer waits for the first part and
// takes it along: a message less is a wake-up less on both sides.
type answerSender struct {
	stream   grpc.ServerStreamingServer[providerv1.CallResponse]
	streamed bool
	begun    bool
	head     *providerv1.Head // not sent yet
}

// Head sends the status and the header.
func (a *answerSender) Head(code int, header map[string]string) error {
	if a.begun {
		return errors.New("the head of the answer was sent before")
	}
	a.begun = true
	a.head = &providerv1.Head{Status: int32(code), Header: header}
	if a.streamed {
		return a.sendHead(nil)
	}
	return nil
}

// sendHead sends the head if that is still to be done, with the data beside it.
func (a *answerSender) sendHead(data []byte) error {
	head := a.head
	if head == nil {
		return nil
	}
	a.head, head.Data = nil, data
	return a.stream.Send(&providerv1.CallResponse{Kind: &providerv1.CallResponse_Head{Head: head}})
}

// Part sends data; it blocks while the gateway does not read.
func (a *answerSender) Part(data []byte) error {
	if !a.begun {
		return errors.New("a part of the answer was sent before its head")
	}
	if a.head != nil {
		piece := data[:min(len(data), MaxPartBytes)]
		if data = data[len(piece):]; len(data) == 0 {
			return a.sendHead(piece)
		}
		if err := a.sendHead(piece); err != nil {
			return err
		}
	}
	for {
		piece := data[:min(len(data), MaxPartBytes)]
		data = data[len(piece):]
		err := a.stream.Send(&providerv1.CallResponse{Kind: &providerv1.CallResponse_Part{
			Part: &providerv1.Part{Data: piece, More: len(data) > 0},
		}})
		if err != nil || len(data) == 0 {
			return err
		}
	}
}

// recovered turns an adapter's panic into a failed call, so that the other calls of the process live on. The panic's
// value is kept out of the error: it may hold what the caller sent.
func recovered(err *error) {
	if r := recover(); r != nil {
		fmt.Fprintf(os.Stderr, "provider plugin: panic of type %T\n%s\n", r, debug.Stack())
		*err = status.Error(codes.Internal, "the adapter panicked")
	}
}
