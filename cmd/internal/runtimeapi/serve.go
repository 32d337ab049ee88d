package runtimeapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// The trailers of a response whose stream broke.
const (
	trailerErrorType = "Lambda-Runtime-Function-Error-Type"
	headerErrorType  = "Lambda-Runtime-Function-Error-Type"
)

// handler is the runtime interface.
func (e *environment) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", e.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", e.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", e.serveInitError)
	return mux
}

// serveNext answers with an event as soon as there is one.
func (e *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	if e.answering() != nil {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the invocation has no response yet")
		return
	}
	next := make(chan *invocation, 1)
	select {
	case e.calls <- next:
	case <-r.Context().Done():
		return
	case <-e.gone:
		return
	}
	select {
	case v := <-next:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", v.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(v.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", e.lambda.config.arn())
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
		_, _ = w.Write(v.payload) // a process that is gone is noticed elsewhere
	case <-r.Context().Done():
	case <-e.gone:
	}
}

// answering is the invocation that has no answer yet.
func (e *environment) answering() *invocation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current
}

// take marks the invocation as answered. It refuses any but the one that the
// process has.
func (e *environment) take(w http.ResponseWriter, r *http.Request) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil || e.current.id != r.PathValue("id") {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return false
	}
	e.current = nil
	return true
}

func (e *environment) serveResponse(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return // the process broke off, and is gone
	}
	if !e.take(w, r) {
		return
	}
	a := answer{payload: body}
	if large != nil {
		a = answer{failed: &functionError{Type: tooLarge, Message: "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}}
		defer refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size")
	} else if kind := r.Trailer.Get(trailerErrorType); kind != "" {
		a = answer{failed: &functionError{Type: kind, Message: "the response broke off"}}
	}
	e.answers <- a // there is room for the one that take allows
	if large == nil {
		accept(w)
	}
}

func (e *environment) serveError(w http.ResponseWriter, r *http.Request) {
	failed, err := readError(w, r)
	if err != nil || !e.take(w, r) {
		return
	}
	e.answers <- answer{failed: failed}
	accept(w)
}

// serveInitError takes why a process cannot start.
func (e *environment) serveInitError(w http.ResponseWriter, r *http.Request) {
	failed, err := readError(w, r)
	if err != nil {
		return
	}
	select {
	case e.answers <- answer{failed: failed}:
		accept(w)
	default:
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "that was said before")
	}
}

// readError reads what a function says of its failure. What it cannot be
// made out of the body, it is of the header.
func readError(w http.ResponseWriter, r *http.Request) (*functionError, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		return nil, err
	}
	failed := &functionError{Type: "Runtime.Unknown", payload: body}
	if kind := r.Header.Get(headerErrorType); kind != "" {
		failed.Type = kind
	}
	_ = json.Unmarshal(body, failed) // it may be anything
	return failed, nil
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`) // a process that is gone is noticed elsewhere
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(functionError{Type: kind, Message: message}) // likewise
}
