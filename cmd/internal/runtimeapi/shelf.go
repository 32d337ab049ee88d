package runtimeapi

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Shelf is a queue in memory, with the rules of SQS, for tests with more
// messages than an emulator can bear.
type Shelf struct {
	// Visibility is how long a message is hidden that was received.
	Visibility time.Duration
	// MaxReceives is how often a message is received before it becomes a dead
	// letter.
	MaxReceives int

	mu       sync.Mutex
	messages []*shelved
	dead     []string
}

type shelved struct {
	Message
	hidden   time.Time // until then
	receives int
}

// Send puts messages into the queue.
func (s *Shelf) Send(bodies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, body := range bodies {
		s.messages = append(s.messages, &shelved{Message: Message{ID: newID(), Body: body}})
	}
}

// Receive implements Queue.
func (s *Shelf) Receive(_ context.Context, limit int) (got []Message, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.messages = slices.DeleteFunc(s.messages, func(m *shelved) bool {
		dead := m.receives >= s.MaxReceives && now.After(m.hidden)
		if dead {
			s.dead = append(s.dead, m.Body)
		}
		return dead
	})
	for _, m := range s.messages {
		if len(got) < limit && now.After(m.hidden) {
			m.hidden = now.Add(s.Visibility)
			m.receives++
			m.Receipt = strconv.Itoa(m.receives)
			m.Attributes = map[string]string{"ApproximateReceiveCount": m.Receipt}
			got = append(got, m.Message)
		}
	}
	return got, nil
}

// Delete implements Queue. A message that was received again since stays, as
// it may in SQS.
func (s *Shelf) Delete(_ context.Context, messages []Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := map[string]string{}
	for _, m := range messages {
		done[m.ID] = m.Receipt
	}
	s.messages = slices.DeleteFunc(s.messages, func(m *shelved) bool {
		receipt, ok := done[m.ID]
		return ok && receipt == m.Receipt
	})
	return nil
}

// Left implements Queue.
func (s *Shelf) Left(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages), nil
}

// Dead are the bodies of the messages that were received too often.
func (s *Shelf) Dead() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dead)
}
