package deployed

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// document returns a list as the AWS CLI prints it: an object with one key,
// of which the value is the list.
func document(key string, list any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	err := e.Encode(map[string]any{key: shape(reflect.ValueOf(list))})
	return out.Bytes(), err
}

// shape turns a value of the SDK into the one that the AWS CLI prints. The
// SDK names its fields as the CLI does. What EC2 did not send is absent; an
// empty list that it sent is an empty list.
func shape(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		return shape(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for k := range list {
			list[k] = shape(v.Index(k))
		}
		return list
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return timestamp(t)
		}
		return object(v)
	}
	return v.Interface()
}

func object(v reflect.Value) map[string]any {
	fields := map[string]any{}
	for k := range v.NumField() {
		if f := v.Type().Field(k); f.IsExported() && sent(v.Field(k)) {
			fields[f.Name] = shape(v.Field(k))
		}
	}
	return fields
}

// sent reports whether a field holds a value: the SDK leaves pointers and
// slices nil, and enumerations, which are no pointers, empty.
func sent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice:
		return !v.IsNil()
	case reflect.String:
		return v.Len() > 0
	}
	return true
}

// timestamp is a time as Python's isoformat writes it, which the CLI uses:
// in UTC, with microseconds if there is a part of a second.
func timestamp(t time.Time) string {
	layout := "2006-01-02T15:04:05-07:00"
	if t.Truncate(time.Microsecond).Nanosecond() != 0 {
		layout = strings.Replace(layout, "05-", "05.000000-", 1)
	}
	return t.UTC().Format(layout)
}
