package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/visutility/visutility/ingest"
)

// grpcRoutes are the protocols that come over gRPC too, on the same port and behind the same
// layers as everything: to the mux a call is a POST by HTTP/2. The bodies are the same, so that the
// same functions read them and answer.
func (s *server) grpcRoutes() []plainRoute {
	calls := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}))
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

// postCall reads the message of a call, as bodies are read, and hands the call over to gRPC without it: gRPC's own
// reader runs ahead of what its limit says, so that nothing would bound the memory of many calls.
func (s *server) postCall(calls *grpc.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := &message{}
		m.body, m.err = s.readMessage(r)
		if m.err == nil {
			defer m.body.Release()
		}
		r = r.WithContext(context.WithValue(r.Context(), messageKey{}, m))
		r.Header.Del("Grpc-Encoding") // undone already
		r.Body = io.NopCloser(bytes.NewReader(make([]byte, framePrefix)))
		calls.ServeHTTP(flusher{w}, r)
	}
}

// A message is what a call brought, or why that could not be read.
type message struct {
	body *ingest.Body
	err  error
}

type messageKey struct{}

// framePrefix is what comes before a message: whether it is compressed, in one byte, and its length in four.
const framePrefix = 5

// readMessage reads the one message of a call, as gRPC frames it. What comes after it is not read.
func (s *server) readMessage(r *http.Request) (*ingest.Body, error) {
	var prefix [framePrefix]byte
	if _, err := io.ReadFull(r.Body, prefix[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%w: the call ends before its message", ingest.ErrSyntax)
	} else if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	encoding := ""
	switch prefix[0] {
	case 0:
	case 1:
		if encoding = r.Header.Get("Grpc-Encoding"); encoding != "gzip" && encoding != "zstd" {
			return nil, fmt.Errorf("%w: messages compressed by %q are not understood; send gzip, zstd or identity", ingest.ErrUnsupported, encoding)
		}
	default:
		return nil, fmt.Errorf("%w: it is not framed as gRPC frames messages", ingest.ErrSyntax)
	}
	size, limit := int64(binary.BigEndian.Uint32(prefix[1:])), min(s.MaxBody, ingest.MaxProtocolBody)
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes are over the limit of %d; send smaller batches", ingest.ErrTooLarge, size, limit)
	}
	if err := s.budget.Admit(size); err != nil {
		return nil, err
	}
	whole := io.LimitedReader{R: r.Body, N: size}
	body, err := ingest.ReadBody(&whole, encoding, limit, s.budget)
	if err == nil && whole.N > 0 {
		body.Release()
		return nil, fmt.Errorf("%w: the call ends %d bytes before its message does", ingest.ErrSyntax, whole.N)
	}
	return body, err
}

// A flusher is a ResponseWriter as gRPC wants it.
type flusher struct{ http.ResponseWriter }

func (f flusher) Flush() {
	_ = http.NewResponseController(f.ResponseWriter).Flush() // a client that is gone waits for nothing
}

// exporter is the one method of OpenTelemetry's services.
func (s *server) exporter(p *ingest.Protocol) grpc.MethodHandler {
	source := s.source(p.Name)
	return func(_ any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		req := ingest.Request{Header: http.Header{"Content-Type": {"application/x-protobuf"}}, Now: time.Now()}
		b, err := s.acceptCall(ctx, p, source, req)
		if err != nil {
			s.countRefused(p.Name, err)
			return nil, s.callError(ctx, err)
		}
		return p.Answer(req, b).Body, nil
	}
}

func (s *server) acceptCall(ctx context.Context, p *ingest.Protocol, source *ingest.Source, req ingest.Request) (*ingest.Batch, error) {
	m := ctx.Value(messageKey{}).(*message)
	if m.err != nil {
		return nil, m.err
	}
	if err := m.body.Unfold(); err != nil {
		return nil, err
	}
	req.Body = m.body.Bytes
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
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge:
		code = codes.ResourceExhausted
	case http.StatusUnsupportedMediaType:
		code = codes.Unimplemented
	case http.StatusRequestTimeout:
		code = codes.DeadlineExceeded
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

// A rawCodec leaves answers as they are: the protocols make bytes. Messages have been read by then.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("a message is bytes here")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(mem.BufferSlice, any) error {
	return errors.New("messages are read before gRPC is called")
}
