package main

import (
	"reflect"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

var timeType = reflect.TypeOf(time.Time{})

// deepCopy returns a copy of v that shares no pointer, slice, map or interface
// value with it. Unexported fields are copied as they are.
//
// The simulator hands the values of a property to its watchers without copying
// them, so whatever a watcher may still hold must never be changed in place.
func deepCopy[T any](v T) T {
	src := reflect.ValueOf(&v).Elem()
	dst := reflect.New(src.Type()).Elem()
	copyValue(dst, src)
	return dst.Interface().(T)
}

func copyValue(dst, src reflect.Value) {
	switch src.Kind() {
	case reflect.Pointer:
		if !src.IsNil() {
			dst.Set(reflect.New(src.Type().Elem()))
			copyValue(dst.Elem(), src.Elem())
		}
	case reflect.Interface:
		if !src.IsNil() {
			inner := reflect.New(src.Elem().Type()).Elem()
			copyValue(inner, src.Elem())
			dst.Set(inner)
		}
	case reflect.Slice:
		if !src.IsNil() {
			dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
			for i := 0; i < src.Len(); i++ {
				copyValue(dst.Index(i), src.Index(i))
			}
		}
	case reflect.Map:
		copyMap(dst, src)
	case reflect.Struct:
		copyStruct(dst, src)
	default:
		dst.Set(src)
	}
}

func copyMap(dst, src reflect.Value) {
	if src.IsNil() {
		return
	}
	dst.Set(reflect.MakeMap(src.Type()))
	for _, k := range src.MapKeys() {
		v := reflect.New(src.Type().Elem()).Elem()
		copyValue(v, src.MapIndex(k))
		dst.SetMapIndex(k, v)
	}
}

func copyStruct(dst, src reflect.Value) {
	dst.Set(src)
	if src.Type() == timeType {
		return
	}
	for i := 0; i < src.NumField(); i++ {
		if dst.Field(i).CanSet() {
			dst.Field(i).SetZero()
			copyValue(dst.Field(i), src.Field(i))
		}
	}
}

func copyDevices(d []types.BaseVirtualDevice) []types.BaseVirtualDevice { return deepCopy(d) }
