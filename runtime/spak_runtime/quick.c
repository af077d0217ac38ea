// The short way of a known call, without the interpreter: from tensors to the driver.
//
// What a plan and its launches do in Python (plan.py, kernel.py), done with what they settled: the guard is asked, the
// addresses of tensors are taken and their alignment compared, outputs are allocated, argument blocks filled, kernels
// launched. An argument block is a copy on the stack, so that no two threads share one. Whatever is out of the ordinary
// (another device is the current one, a launch fails) is left to the Python that does the same.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_SLOTS = 64, MAX_BLOCK = 4096 + 64, MAX_ARGUMENTS = 64, MAP_BYTES = 128, MAP_ALIGNMENT = 64 };

// The driver's CUlaunchAttribute and CUlaunchConfig.
typedef struct { uint32_t id, padding, value[16]; } Attribute;
typedef struct {
  uint32_t grid[3], block[3], shared_bytes;
  void* stream;
  Attribute* attributes;
  uint32_t attribute_count;
} Config;
typedef int (*Driver)(const Config*, void* function, void** parameters, void** extra);

typedef struct { uint32_t slot; uint64_t mask, low; } Place;                       // address & mask == low
typedef struct { uint32_t slot; PyObject *shape, *strides, *dtype; } Allocation;
typedef struct { uint32_t offset, slot; PyObject* descriptors; } Map;              // a mapping: address to bytes
typedef struct { uint32_t offset, slot; } Word;
typedef struct {
  void* function;
  Config config;
  Py_ssize_t block_bytes, word_count, map_count, argument_count;
  char* block;
  Word* words;
  Map* maps;
  uint32_t* arguments;  // offsets in the block
} Launch;

typedef struct {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject *check, *data_ptr, *slowly, *empty, *device_of, *stream_of, *device, *prepared, *run;
  long device_index;
  Driver driver;
  Py_ssize_t slot_count, place_count, allocation_count, output_count, launch_count;
  uint64_t addresses[MAX_SLOTS];
  Place* places;
  Allocation* allocations;  // outputs first, then the workspace
  Launch* launches;
} Quick;

// ---- the call -------------------------------------------------------------------------------------------

static int address_of(Quick* self, PyObject* tensor, uint64_t* address) {
  PyObject* number = PyObject_Vectorcall(self->data_ptr, &tensor, 1, NULL);
  if (!number) return -1;
  *address = PyLong_AsUnsignedLongLong(number);
  Py_DECREF(number);
  return PyErr_Occurred() ? -1 : 0;
}

// 1 where the tensors are those of the known call, with `addresses` filled in; 0 where not; -1 with an exception.
static int recognise(Quick* self, PyObject* const* tensors, Py_ssize_t count, int ask, uint64_t* addresses) {
  if (count != self->place_count) return 0;
  if (ask) {
    PyObject* same = PyObject_Vectorcall(self->check, tensors, (size_t)count, NULL);
    if (!same) return -1;
    Py_DECREF(same);
    if (same != Py_True) return 0;
  }
  memcpy(addresses, self->addresses, sizeof(uint64_t) * (size_t)self->slot_count);
  for (Py_ssize_t i = 0; i < count; i++) {
    uint64_t* address = &addresses[self->places[i].slot];
    if (address_of(self, tensors[i], address)) return -1;
    if ((*address & self->places[i].mask) != self->places[i].low) return 0;
  }
  return 1;
}

static int start(Quick* self, const Launch* launch, const uint64_t* addresses, void* stream) {
  char memory[MAX_BLOCK + MAP_ALIGNMENT];
  char* block = memory + (-(uintptr_t)memory & (MAP_ALIGNMENT - 1));
  memcpy(block, launch->block, (size_t)launch->block_bytes);
  for (Py_ssize_t i = 0; i < launch->word_count; i++)
    memcpy(block + launch->words[i].offset, &addresses[launch->words[i].slot], sizeof(uint64_t));
  for (Py_ssize_t i = 0; i < launch->map_count; i++) {
    const Map* map = &launch->maps[i];
    PyObject* address = PyLong_FromUnsignedLongLong(addresses[map->slot]);
    PyObject* descriptor = address ? PyObject_GetItem(map->descriptors, address) : NULL;
    Py_XDECREF(address);
    if (!descriptor) return -1;
    memcpy(block + map->offset, PyBytes_AS_STRING(descriptor), MAP_BYTES);
    Py_DECREF(descriptor);
  }
  void* parameters[MAX_ARGUMENTS];
  for (Py_ssize_t i = 0; i < launch->argument_count; i++) parameters[i] = block + launch->arguments[i];
  Attribute overlaps = {6, 0, {1}};  // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
  Config config = launch->config;
  config.stream = stream;
  config.attributes = &overlaps;
  int status;
  Py_BEGIN_ALLOW_THREADS
  status = self->driver(&config, launch->function, parameters, NULL);
  Py_END_ALLOW_THREADS
  return status;
}

// The launch by Python, which knows what to do about a status and how to tell it.
static int start_slowly(Quick* self, Py_ssize_t index, const uint64_t* addresses, PyObject* stream) {
  PyObject* list = PyList_New(self->slot_count);
  if (!list) return -1;
  for (Py_ssize_t i = 0; i < self->slot_count; i++) {
    PyObject* address = PyLong_FromUnsignedLongLong(addresses[i]);
    if (!address) { Py_DECREF(list); return -1; }
    PyList_SET_ITEM(list, i, address);
  }
  PyObject* launch = PyList_GET_ITEM(self->prepared, index);
  PyObject* done = PyObject_CallMethodObjArgs(launch, self->run, list, stream, self->device, NULL);
  Py_DECREF(list);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

static int launch_all(Quick* self, const uint64_t* addresses) {
  PyObject* stream = PyObject_Vectorcall(self->stream_of, &self->device, 1, NULL);
  if (!stream) return -1;
  void* raw = (void*)(uintptr_t)PyLong_AsUnsignedLongLong(stream);
  int status = PyErr_Occurred() ? -1 : 0;
  for (Py_ssize_t i = 0; i < self->launch_count && status == 0; i++) {
    status = start(self, &self->launches[i], addresses, raw);
    if (status > 0) status = start_slowly(self, i, addresses, stream);
  }
  Py_DECREF(stream);
  return status;
}

static int is_current(Quick* self) {
  PyObject* device = PyObject_CallNoArgs(self->device_of);
  if (!device) return -1;
  long index = PyLong_AsLong(device);
  Py_DECREF(device);
  return PyErr_Occurred() ? -1 : index == self->device_index;
}

static PyObject* answer(Quick* self, PyObject* const* tensors, Py_ssize_t count, int ask) {
  uint64_t addresses[MAX_SLOTS];
  int known = recognise(self, tensors, count, ask, addresses);
  if (known < 0) return NULL;
  if (known == 0) Py_RETURN_NONE;
  int current = is_current(self);
  if (current < 0) return NULL;
  if (current == 0) return PyObject_Vectorcall(self->slowly, tensors, (size_t)count, NULL);
  PyObject* outputs = PyList_New(self->output_count);
  PyObject* held[MAX_SLOTS];
  Py_ssize_t made = 0;
  int status = outputs ? 0 : -1;
  for (; status == 0 && made < self->allocation_count; made++) {
    const Allocation* a = &self->allocations[made];
    PyObject* form[] = {a->shape, a->strides, a->dtype};
    PyObject* fresh = PyObject_Vectorcall(self->empty, form, 3, NULL);
    if (!fresh) { status = -1; break; }
    held[made] = fresh;
    if (made < self->output_count) PyList_SET_ITEM(outputs, made, Py_NewRef(fresh));
    status = address_of(self, fresh, &addresses[a->slot]);
  }
  if (status == 0) status = launch_all(self, addresses);
  while (made > 0) Py_DECREF(held[--made]);
  if (status == 0) return outputs;
  Py_XDECREF(outputs);
  return NULL;
}

static PyObject* quick_call(PyObject* self, PyObject* const* args, size_t count, PyObject* names) {
  if (names && PyTuple_GET_SIZE(names)) Py_RETURN_NONE;
  return answer((Quick*)self, args, PyVectorcall_NARGS(count), 1);
}

static PyObject* quick_launch(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return answer((Quick*)self, args, count, 0);
}

static PyObject* quick_recognises(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  uint64_t addresses[MAX_SLOTS];
  int known = recognise((Quick*)self, args, count, 1, addresses);
  return known < 0 ? NULL : PyBool_FromLong(known);
}

// ---- what it is made of -----------------------------------------------------------------------------------

static void* reserved(Py_ssize_t count, size_t bytes) {
  void* memory = PyMem_Calloc((size_t)(count > 0 ? count : 1), bytes);
  if (!memory) PyErr_NoMemory();
  return memory;
}

static int make_launch(Launch* launch, PyObject* from) {
  unsigned long long function;
  PyObject *block, *arguments, *words, *maps;
  Config* c = &launch->config;
  int overlaps;
  if (!PyArg_ParseTuple(from, "K(III)IIpSO!O!O!", &function, &c->grid[0], &c->grid[1], &c->grid[2], &c->block[0],
                        &c->shared_bytes, &overlaps, &block, &PyTuple_Type, &arguments, &PyList_Type, &words,
                        &PyList_Type, &maps))
    return -1;
  launch->function = (void*)(uintptr_t)function;
  c->block[1] = c->block[2] = 1;
  c->attribute_count = (uint32_t)overlaps;
  launch->block_bytes = PyBytes_GET_SIZE(block);
  launch->argument_count = PyTuple_GET_SIZE(arguments);
  if (launch->block_bytes > MAX_BLOCK || launch->argument_count > MAX_ARGUMENTS) {
    PyErr_SetString(PyExc_OverflowError, "an argument block of this size is none for the short way");
    return -1;
  }
  launch->block = reserved(launch->block_bytes, 1);
  launch->words = reserved(PyList_GET_SIZE(words), sizeof(Word));
  launch->maps = reserved(PyList_GET_SIZE(maps), sizeof(Map));
  launch->arguments = reserved(launch->argument_count, sizeof(uint32_t));
  if (!launch->block || !launch->words || !launch->maps || !launch->arguments) return -1;
  memcpy(launch->block, PyBytes_AS_STRING(block), (size_t)launch->block_bytes);
  for (Py_ssize_t i = 0; i < launch->argument_count; i++)
    launch->arguments[i] = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(arguments, i));
  for (; launch->word_count < PyList_GET_SIZE(words); launch->word_count++) {
    Word* word = &launch->words[launch->word_count];
    if (!PyArg_ParseTuple(PyList_GET_ITEM(words, launch->word_count), "II", &word->offset, &word->slot)) return -1;
    word->offset *= sizeof(uint64_t);
  }
  for (; launch->map_count < PyList_GET_SIZE(maps); launch->map_count++) {
    Map* map = &launch->maps[launch->map_count];
    PyObject* item = PyList_GET_ITEM(maps, launch->map_count);
    if (!PyArg_ParseTuple(item, "IIO", &map->offset, &map->slot, &map->descriptors)) return -1;
    Py_INCREF(map->descriptors);
  }
  return PyErr_Occurred() ? -1 : 0;
}

static void quick_free(PyObject* object) {
  Quick* self = (Quick*)object;
  for (Py_ssize_t i = 0; i < self->launch_count; i++) {
    Launch* launch = &self->launches[i];
    for (Py_ssize_t k = 0; k < launch->map_count; k++) Py_DECREF(launch->maps[k].descriptors);
    PyMem_Free(launch->block);
    PyMem_Free(launch->words);
    PyMem_Free(launch->maps);
    PyMem_Free(launch->arguments);
  }
  for (Py_ssize_t i = 0; i < self->allocation_count; i++) {
    Py_DECREF(self->allocations[i].shape);
    Py_DECREF(self->allocations[i].strides);
    Py_DECREF(self->allocations[i].dtype);
  }
  PyMem_Free(self->places);
  PyMem_Free(self->allocations);
  PyMem_Free(self->launches);
  PyObject* owned[] = {self->check,     self->data_ptr, self->slowly,   self->empty, self->device_of,
                       self->stream_of, self->device,   self->prepared, self->run};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) Py_XDECREF(owned[i]);
  Py_TYPE(object)->tp_free(object);
}

// Quick(check, data_ptr, slowly, places, driver, empty, device_of, stream_of, device, addresses, allocations, outputs,
// launches, prepared): `slowly` is Way.launch; `places` are (slot, mask, low), `allocations` (slot, shape, strides, dtype),
// of which the first `outputs` are returned; `launches` as PreparedLaunch.settled, `prepared` the PreparedLaunch objects.
static PyObject* quick_new(PyTypeObject* type, PyObject* args, PyObject* names) {
  (void)names;
  PyObject *check, *data_ptr, *slowly, *places, *empty, *device_of, *stream_of, *device, *addresses, *allocations;
  PyObject *launches, *prepared;
  Py_ssize_t outputs;
  unsigned long long driver;
  if (!PyArg_ParseTuple(args, "OOOO!KOOOOO!O!nO!O!", &check, &data_ptr, &slowly, &PyTuple_Type, &places, &driver, &empty,
                        &device_of, &stream_of, &device, &PyList_Type, &addresses, &PyList_Type, &allocations, &outputs,
                        &PyList_Type, &launches, &PyList_Type, &prepared))
    return NULL;
  Quick* self = (Quick*)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->vectorcall = quick_call;
  self->check = Py_NewRef(check);
  self->data_ptr = Py_NewRef(data_ptr);
  self->slowly = Py_NewRef(slowly);
  self->empty = Py_NewRef(empty);
  self->device_of = Py_NewRef(device_of);
  self->stream_of = Py_NewRef(stream_of);
  self->device = Py_NewRef(device);
  self->prepared = Py_NewRef(prepared);
  self->output_count = outputs;
  self->run = PyUnicode_FromString("run");
  self->driver = (Driver)(uintptr_t)driver;
  self->device_index = PyLong_AsLong(self->device);
  self->slot_count = PyList_GET_SIZE(addresses);
  if (self->slot_count > MAX_SLOTS) {
    PyErr_SetString(PyExc_OverflowError, "so many tensors are none for the short way");
    goto failed;
  }
  for (Py_ssize_t i = 0; i < self->slot_count; i++)
    self->addresses[i] = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(addresses, i));
  self->places = reserved(PyTuple_GET_SIZE(places), sizeof(Place));
  self->allocations = reserved(PyList_GET_SIZE(allocations), sizeof(Allocation));
  self->launches = reserved(PyList_GET_SIZE(launches), sizeof(Launch));
  if (!self->places || !self->allocations || !self->launches) goto failed;
  for (; self->place_count < PyTuple_GET_SIZE(places); self->place_count++) {
    Place* p = &self->places[self->place_count];
    unsigned long long mask, low;
    if (!PyArg_ParseTuple(PyTuple_GET_ITEM(places, self->place_count), "IKK", &p->slot, &mask, &low)) goto failed;
    p->mask = mask;
    p->low = low;
  }
  for (; self->allocation_count < PyList_GET_SIZE(allocations); self->allocation_count++) {
    Allocation* a = &self->allocations[self->allocation_count];
    PyObject* item = PyList_GET_ITEM(allocations, self->allocation_count);
    if (!PyArg_ParseTuple(item, "IOOO", &a->slot, &a->shape, &a->strides, &a->dtype)) goto failed;
    Py_INCREF(a->shape);
    Py_INCREF(a->strides);
    Py_INCREF(a->dtype);
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(launches); i++) {
    self->launch_count = i + 1;
    if (make_launch(&self->launches[i], PyList_GET_ITEM(launches, i))) goto failed;
  }
  if (!PyErr_Occurred() && self->run) return (PyObject*)self;
failed:
  Py_DECREF(self);
  return NULL;
}

static PyMethodDef methods[] = {
    {"launch", (PyCFunction)(void (*)(void))quick_launch, METH_FASTCALL, "The same for tensors that are recognised."},
    {"recognises", (PyCFunction)(void (*)(void))quick_recognises, METH_FASTCALL, "Whether the tensors are of the call."},
    {NULL, NULL, 0, NULL}};

static PyTypeObject quick_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "spak_quick.Quick",
    .tp_basicsize = sizeof(Quick),
    .tp_dealloc = quick_free,
    .tp_vectorcall_offset = offsetof(Quick, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_doc = "Quick(*tensors): the outputs that are allocated for a known call, or None where this is none.",
    .tp_methods = methods,
    .tp_new = quick_new,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "spak_quick", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_spak_quick(void) {
  if (PyType_Ready(&quick_type) < 0) return NULL;
  PyObject* made = PyModule_Create(&module);
  if (made && PyModule_AddObjectRef(made, "Quick", (PyObject*)&quick_type) < 0) {
    Py_DECREF(made);
    return NULL;
  }
  return made;
}
