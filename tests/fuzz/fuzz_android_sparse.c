/* Android sparse images, in pieces whose size the first byte says. */
#include "tests/fuzz/fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_form(&image_form_android_sparse, data, size);
	return 0;
}
