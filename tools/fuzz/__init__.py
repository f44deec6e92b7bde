"""Tries many made files, and checks what onnxplain does with them.

net, blocks, bodies, quantized    strategies of small valid graphs
models                            a model of such a graph, with what lies beside it
damage                            changes of a model's fields and of a file's bytes
pictures, configurations          strategies of pictures, and of files beside a model
case                              a case: files and command lines, and how it is kept
run                               runs a case in this process, and watches what is opened
judge                             what must hold of each command line
maps                              what must hold of a map: gradients, batches, threads
watch                             which files are opened
worker                            a process that runs many cases
driver                            starts workers, and replaces one that has ended or hangs
alone                             a model in ONNX Runtime alone: whether a crash or hang is its own
report                            counts, and the findings
"""
