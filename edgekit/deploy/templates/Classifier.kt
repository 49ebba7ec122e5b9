// Says what is in a picture, with the answers of run.py. In an app's build.gradle.kts:
//
//     dependencies { implementation("com.google.ai.edge.litert:litert:2.1.6") }
//
// and @FILES@ in src/main/assets. Keep a Classifier, one a thread; close it at the end.

package com.example

import android.content.Context
import android.graphics.Bitmap
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import org.tensorflow.lite.Interpreter

data class Answer(val label: String, val probability: Float, val stage: String)

class Classifier(context: Context, threads: Int = 1) : Closeable {
    /** An array at an end of the file: float32, or int8 whose real value is scale * (number - zero). */
    private class End(val name: String, val isInt8: Boolean, val scale: Float, val zero: Int)

    private class Stage(
        val name: String,
        val file: String,
        val signature: String?, // of the file's networks; null is the one that runs when none is named
        val height: Int,
        val width: Int,
        val mean: FloatArray,
        val std: FloatArray,
        val input: End,
        val output: End
    )

    private val stages = listOf(@STAGES@)
    private val threshold = @THRESHOLD@f // so sure, no later stage is asked
    private val areProbabilities = @PROBABILITIES@ // else scores before a softmax
    private val labels = listOf(@LABELS@)

    private val interpreters = stages.map { stage ->
        Interpreter(asset(context, stage.file), Interpreter.Options().setNumThreads(threads))
    }

    /** `bitmap` upright, such as CameraX's ImageProxy.toBitmap() turned by its rotationDegrees. */
    fun classify(bitmap: Bitmap): Answer {
        val pixels = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return classify(Picture(bitmap.width, bitmap.height, pixels))
    }

    private fun classify(picture: Picture): Answer {
        for ((index, stage) in stages.withIndex()) {
            val p = run(interpreters[index], stage, picture)
            var best = 0
            for (i in p.indices) if (p[i] > p[best]) best = i
            if (!areProbabilities) {
                val most = p[best]
                for (i in p.indices) p[i] = exp(p[i] - most)
                val sum = p.sum()
                for (i in p.indices) p[i] /= sum
            }
            if (p[best] >= threshold || index == stages.lastIndex) return Answer(labels[best], p[best], stage.name)
        }
        error("there is no stage")
    }

    private fun run(interpreter: Interpreter, stage: Stage, picture: Picture): FloatArray {
        val given = input(stage, picture.resized(stage.width, stage.height))
        val answer = room(labels.size, stage.output)
        if (stage.signature == null) {
            interpreter.run(given, answer)
        } else {
            interpreter.runSignature(
                mapOf(stage.input.name to given),
                mapOf(stage.output.name to answer),
                stage.signature
            )
        }
        answer.rewind()
        return FloatArray(labels.size) {
            if (stage.output.isInt8) (answer.get() - stage.output.zero) * stage.output.scale else answer.float
        }
    }

    /** Channels last, (pixel / 255 - mean) / std. */
    private fun input(stage: Stage, picture: Picture): ByteBuffer {
        val buffer = room(3 * stage.width * stage.height, stage.input)
        for (pixel in picture.pixels) {
            for (c in 0..2) {
                val x = (picture.channel(pixel, c) / 255f - stage.mean[c]) / stage.std[c]
                if (stage.input.isInt8) {
                    buffer.put(min(127f, max(-128f, round(x / stage.input.scale) + stage.input.zero)).toInt().toByte())
                } else {
                    buffer.putFloat(x)
                }
            }
        }
        buffer.rewind()
        return buffer
    }

    private fun room(count: Int, end: End): ByteBuffer =
        ByteBuffer.allocateDirect(if (end.isInt8) count else 4 * count).order(ByteOrder.nativeOrder())

    private fun asset(context: Context, name: String): ByteBuffer {
        val content = context.assets.open(name).use { it.readBytes() }
        val buffer = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder())
        buffer.put(content)
        buffer.rewind()
        return buffer
    }

    override fun close() = interpreters.forEach { it.close() }
}

/** Row after row, a pixel as Bitmap.getPixels gives it: 0xAARRGGBB, taken as opaque. */
internal class Picture(val width: Int, val height: Int, val pixels: IntArray) {
    /** 0 red, 1 green, 2 blue. */
    fun channel(pixel: Int, c: Int): Int = (pixel shr (16 - 8 * c)) and 255

    /** As Pillow 13 does it, to the bit; which direction is first matters for the rounding. */
    fun resized(width: Int, height: Int): Picture {
        val verticalFirst = this.height - height > max(0, 2 * (this.width - width))
        return if (verticalFirst) {
            along(height, true).along(width, false)
        } else {
            along(width, false).along(height, true)
        }
    }

    /** One direction of a bilinear resize with antialias, in fixed point. */
    private fun along(length: Int, vertical: Boolean): Picture {
        val bits = 22
        val before = if (vertical) height else width
        val lines = if (vertical) width else height
        val scale = before.toDouble() / length
        val support = max(scale, 1.0)
        val newWidth = if (vertical) width else length
        val made = IntArray(length * lines)
        for (at in 0 until length) {
            val center = (at + 0.5) * scale
            val first = max(0, (center - support + 0.5).toInt())
            val count = min(before, (center + support + 0.5).toInt()) - first
            val weights = DoubleArray(count) { max(0.0, 1 - abs((it + first - center + 0.5) * (1 / support))) }
            val sum = weights.sum()
            val fixed = IntArray(count) { (0.5 + weights[it] * (1 / sum) * (1 shl bits)).toInt() }
            for (line in 0 until lines) {
                var pixel = 0
                for (c in 0..2) {
                    var total = 1 shl (bits - 1)
                    for (i in 0 until count) {
                        val place = if (vertical) (first + i) * width + line else line * width + first + i
                        total += channel(pixels[place], c) * fixed[i]
                    }
                    pixel = (pixel shl 8) or min(255, max(0, total shr bits))
                }
                made[if (vertical) at * newWidth + line else line * newWidth + at] = pixel
            }
        }
        return Picture(newWidth, if (vertical) length else height, made)
    }
}
