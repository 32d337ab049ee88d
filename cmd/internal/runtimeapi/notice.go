package runtimeapi

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// The account that everything belongs to.
const account = "123456789012"

// Layouts of times in events.
const (
	milliseconds = "2006-01-02T15:04:05.000Z"
	seconds      = "2006-01-02T15:04:05Z"
)

// A Notice says that something happened to an object.
type Notice struct {
	Event     string // ObjectCreated:Put, ObjectRemoved:Delete and so on
	Time      time.Time
	Region    string
	Bucket    string
	Key       string // as it is
	Size      int64  // bytes; no meaning for an object that was removed
	ETag      string // without quotes; likewise
	VersionID string // empty in a bucket without versions
	Sequencer string // orders what happens to one key, as hexadecimal numbers
}

func (n Notice) created() bool { return strings.HasPrefix(n.Event, "ObjectCreated:") }

// object is any JSON object.
type object map[string]any

// encode turns JSON values that this package makes into text, and leaves
// characters of HTML as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it is made of strings and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// S3Event is the notification that S3 sends to a function, a queue or a
// topic. Real ones hold one notice.
//
// Source: S3 User Guide, "Event message structure".
func S3Event(notices ...Notice) []byte {
	records := make([]object, len(notices))
	for i, n := range notices {
		records[i] = n.record()
	}
	return encode(object{"Records": records})
}

func (n Notice) record() object {
	thing := object{"key": EncodeKey(n.Key), "sequencer": n.Sequencer}
	if n.created() {
		thing["size"], thing["eTag"] = n.Size, n.ETag
	}
	if n.VersionID != "" {
		thing["versionId"] = n.VersionID
	}
	return object{
		"eventVersion":      "2.1",
		"eventSource":       "aws:s3",
		"awsRegion":         n.Region,
		"eventTime":         n.Time.UTC().Format(milliseconds),
		"eventName":         n.Event,
		"userIdentity":      object{"principalId": "AWS:AIDAEXAMPLE"},
		"requestParameters": object{"sourceIPAddress": "192.0.2.1"},
		"responseElements":  object{"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S"},
		"s3": object{
			"s3SchemaVersion": "1.0",
			"configurationId": "flow-logs",
			"bucket":          object{"name": n.Bucket, "ownerIdentity": object{"principalId": "A3NL1KOZZKExample"}, "arn": "arn:aws:s3:::" + n.Bucket},
			"object":          thing,
		},
	}
}

// EncodeKey encodes a key as notifications of S3 have it: like a field of a
// form, a space as +, but with its slashes.
func EncodeKey(key string) string {
	return strings.NewReplacer("%2F", "/", "~", "%7E", "%2A", "*").Replace(url.QueryEscape(key))
}

// S3TestEvent is what S3 sends when notifications of a bucket are set up.
func S3TestEvent(bucket string, at time.Time) []byte {
	return encode(object{
		"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": at.UTC().Format(milliseconds), "Bucket": bucket,
		"RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
	})
}

// EventBridgeEvent is the notice as S3 sends it to EventBridge, where keys
// are not encoded.
//
// Source: S3 User Guide, "EventBridge event message structure".
func EventBridgeEvent(n Notice) []byte {
	thing := object{"key": n.Key, "sequencer": n.Sequencer}
	detail := object{
		"version": "0", "bucket": object{"name": n.Bucket}, "object": thing,
		"request-id": "N4N7GDK58NMKJ12R", "requester": account, "source-ip-address": "192.0.2.1",
	}
	kind := "Object Deleted"
	if n.created() {
		kind = "Object Created"
		thing["size"], thing["etag"] = n.Size, n.ETag
		detail["reason"] = reason(n.Event)
	} else {
		detail["reason"], detail["deletion-type"] = "DeleteObject", "Permanently Deleted"
	}
	if n.VersionID != "" {
		thing["version-id"] = n.VersionID
	}
	return bridged(kind, "aws.s3", n.Region, n.Time, []string{"arn:aws:s3:::" + n.Bucket}, detail)
}

// reason is the call that made an object, as EventBridge names it.
func reason(event string) string {
	switch _, call, _ := strings.Cut(event, ":"); call {
	case "Put":
		return "PutObject"
	case "Post":
		return "POST Object"
	case "Copy":
		return "CopyObject"
	default:
		return call
	}
}

// ScheduledEvent is what EventBridge sends at the time of a schedule.
func ScheduledEvent(region string, at time.Time) []byte {
	return bridged("Scheduled Event", "aws.events", region, at,
		[]string{"arn:aws:events:" + region + ":" + account + ":rule/report"}, object{})
}

func bridged(kind, source, region string, at time.Time, resources []string, detail object) []byte {
	return encode(object{
		"version": "0", "id": newID(), "detail-type": kind, "source": source, "account": account,
		"time": at.UTC().Format(seconds), "region": region, "resources": resources, "detail": detail,
	})
}

// SQSEvent is what Lambda makes of messages of the queue.
func SQSEvent(queueARN string, messages ...Message) []byte {
	records := make([]object, len(messages))
	for i, m := range messages {
		sum := md5.Sum([]byte(m.Body))
		attributes := m.Attributes
		if attributes == nil {
			attributes = map[string]string{"ApproximateReceiveCount": "1"}
		}
		records[i] = object{
			"messageId": m.ID, "receiptHandle": m.Receipt, "body": m.Body, "attributes": attributes,
			"messageAttributes": object{}, "md5OfBody": hex.EncodeToString(sum[:]),
			"eventSource": "aws:sqs", "eventSourceARN": queueARN, "awsRegion": regionOf(queueARN),
		}
	}
	return encode(object{"Records": records})
}

// regionOf is the fourth part of an ARN.
func regionOf(arn string) string {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}

// SNSEvent is how SNS hands messages to a function. Real ones hold one.
func SNSEvent(topicARN string, messages ...[]byte) []byte {
	records := make([]object, len(messages))
	for i, m := range messages {
		sns := notification(topicARN, m)
		// The names of these two differ from those in a message to a queue.
		sns["SigningCertUrl"], sns["UnsubscribeUrl"] = sns["SigningCertURL"], sns["UnsubscribeURL"]
		delete(sns, "SigningCertURL")
		delete(sns, "UnsubscribeURL")
		sns["MessageAttributes"] = object{}
		records[i] = object{
			"EventVersion": "1.0", "EventSource": "aws:sns", "EventSubscriptionArn": topicARN + ":21be56ed-a058-49f5-8c98-aedd2564c486", "Sns": sns,
		}
	}
	return encode(object{"Records": records})
}

// SNSBody is how SNS puts a message into a queue, without raw delivery. With
// it, the body is the message itself.
func SNSBody(topicARN string, message []byte) []byte { return encode(notification(topicARN, message)) }

func notification(topicARN string, message []byte) object {
	host := "https://sns." + regionOf(topicARN) + ".amazonaws.com/"
	return object{
		"Type": "Notification", "MessageId": newID(), "TopicArn": topicARN, "Subject": "Amazon S3 Notification",
		"Message": string(message), "Timestamp": time.Now().UTC().Format(milliseconds), "SignatureVersion": "1",
		"Signature": "EXAMPLE", "SigningCertURL": host + "SimpleNotificationService-0.pem", "UnsubscribeURL": host + "?Action=Unsubscribe",
	}
}

// A LogEvent is one of a log stream.
type LogEvent struct {
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
	Message   string `json:"message"`
}

// LogsEvent is what a subscription of CloudWatch Logs sends to a function.
//
// Source: CloudWatch Logs User Guide, "Using CloudWatch Logs subscription
// filters".
func LogsEvent(group, stream string, events ...LogEvent) ([]byte, error) {
	if events == nil {
		events = []LogEvent{}
	}
	var data bytes.Buffer
	w := gzip.NewWriter(&data)
	_, err := w.Write(encode(object{
		"messageType": "DATA_MESSAGE", "owner": account, "logGroup": group, "logStream": stream,
		"subscriptionFilters": []string{"ephemera"}, "logEvents": events,
	}))
	if err != nil {
		return nil, fmt.Errorf("log events: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("log events: %w", err)
	}
	return encode(object{"awslogs": object{"data": data.Bytes()}}), nil
}
