package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // by which Collectors compress
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/visutility/visutility/ingest"
)

// grpcRoutes are the protocols that come over gRPC too, on the same port and behind the same
// layers as everything: to the mux a call is a POST by HTTP/2. The bodies are the same, so that the
// same functions read them and answer.
func (s *server) grpcRoutes() []plainRoute {
	calls := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.MaxRecvMsgSize(ingest.MaxProtocolBody))
	var routes []plainRoute
	for i := range ingest.Protocols {
		p := &ingest.Protocols[i]
		if p.GRPC == "" {
			continue
		}
		calls.RegisterService(&grpc.ServiceDesc{
			ServiceName: p.GRPC, HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: s.exporter(p)}},
		}, s)
		routes = append(routes, plainRoute{"POST", "/" + p.GRPC + "/Export", s.postCall(calls), nil})
	}
	return routes
}

// postCall hands a call over to gRPC, once there is room for the message that it may bring.
func (s *server) postCall(calls *grpc.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		release, err := s.budget.Reserve(ingest.MaxProtocolBody)
		if err != nil {
			s.fail(w, r, err) // which gRPC's clients read as "unavailable" and try again
			return
		}
		defer release()
		calls.ServeHTTP(flusher{w}, r)
	}
}

// A flusher is a ResponseWriter as gRPC wants it.
type flusher struct{ http.ResponseWriter }

func (f flusher) Flush() {
	_ = http.NewResponseController(f.ResponseWriter).Flush() // a client that is gone waits for nothing
}

// exporter is the one method of OpenTelemetry's services.
func (s *server) exporter(p *ingest.Protocol) grpc.MethodHandler {
	source := s.source(p.Name)
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var body []byte
		if err := decode(&body); err != nil {
			return nil, err
		}
		req := ingest.Request{Header: http.Header{"Content-Type": {"application/x-protobuf"}}, Body: body, Now: time.Now()}
		b, err := s.acceptCall(ctx, p, source, req)
		if err != nil {
			s.countRefused(p.Name, err)
			return nil, s.callError(ctx, err)
		}
		return p.Answer(req, b).Body, nil
	}
}

func (s *server) acceptCall(ctx context.Context, p *ingest.Protocol, source *ingest.Source, req ingest.Request) (*ingest.Batch, error) {
	release, err := s.budget.Reserve(ingest.DecodedBytes(len(req.Body)))
	if err != nil {
		return nil, err
	}
	defer release()
	b, err := p.Read(source, req)
	if err != nil {
		return nil, err
	}
	return b, s.keep(ctx, p.Name, b)
}

// callError is an error as gRPC says it. Those that pass say when to try again, without which
// OpenTelemetry's clients would not.
func (s *server) callError(ctx context.Context, err error) error {
	problem := s.report(ctx, http.MethodPost, err)
	code := codes.InvalidArgument
	switch problem.Status {
	case http.StatusTooManyRequests:
		code = codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		code = codes.Unavailable
	case http.StatusInternalServerError:
		code = codes.Internal
	}
	text := problem.Detail
	for _, e := range problem.Errors {
		text += "; " + e.Location + ": " + e.Message
	}
	st := status.New(code, text)
	if problem.retryAfter > 0 {
		if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(problem.retryAfter)}); err == nil {
			st = detailed
		}
	}
	return st.Err()
}

// A rawCodec leaves messages as they are: the protocols read bytes.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("a message is bytes here")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errors.New("a message is bytes here")
	}
	*b = data.Materialize()
	return nil
}
