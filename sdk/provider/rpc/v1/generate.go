// Package providerv1 is the generated code of provider.proto. Vendors use sdk/provider; vendors in other languages use
// the .proto file.
package providerv1

//go:generate npx --yes @bufbuild/buf@1.75.0 generate
